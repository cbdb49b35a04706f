"""The learner of recipe `fast`: proximal policy optimisation (Schulman et al. 2017), actor and critic.

The network has a logit for each action and, as its last output, the value V(x): the return that is
expected. Returns are discounted sums of the signs of rewards, to the next end: of a point, a life or the
game. Where they are large the rewards are divided, see `returns.ReturnScale`. With rollouts of a fixed length
the learner ascends, with ratio_t = pi(a_t | x_t) / pi_old(a_t | x_t),

    mean_t  min(ratio_t A_t, clip(ratio_t, 1 - c, 1 + c) A_t)  -  value_coefficient  (V(x_t) - R_t)^2
            +  entropy_coefficient  H(pi(. | x_t))  +  log_barrier_coefficient  mean_a log pi(a | x_t)

on small parts of the rollouts, several times over. A_t is the generalised advantage, R_t = A_t + V(x_t), with
the values as they are before the update. pi_old is the policy that played: not quite the one that the update
starts from, for the workers have played on during the last update (see `workers.Workers.collect_steps`). The
advantages of each minibatch are standardised.

Where an action is held to explore (see `exploration`), pi_old leaves that out: the ratio begins at 1, as if
the policy had drawn the action, and what is rewarded is learned although the policy hardly ever does it.
With the probabilities that were played with, it would begin at 0.15 for the action held (one of nine), so
that learning from it would take many updates.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pongrad.games.randomness import Purpose, seed_sequence
from pongrad.learning.optimisers import LazyRMSProp
from pongrad.learning.recipes import Fast
from pongrad.learning.returns import ReturnScale, generalised_advantages, standardise
from pongrad.network import policy
from pongrad.network.layers import Array
from pongrad.network.network import Network
from pongrad.playing.rollout import Rollout, join
from pongrad.vision.frames import Frames
from pongrad.vision.inputs import Inputs

INPUTS_ON = 32
"""The learning rate is meant for so many inputs on at a step. The weights of each move the first layer's
output, so where more inputs are on, the first layer's rate is smaller."""


@dataclass
class _Batch:
    """All steps of the rollouts, one after the other; float arrays are [steps] in the network's precision."""

    inputs: Inputs | Frames
    actions: NDArray[np.uint8]
    old_log_p: Array
    advantages: Array
    returns: Array


class PPO:
    """Learns from rollouts of a fixed length.

    Attributes:
        network: what learns; its weights are changed in place.
        optimiser: how they move.
        return_scale: what rewards are divided by.
    """

    def __init__(
        self,
        network: Network,
        action_names: Sequence[str],
        config: Fast,
        reward_ends: bool = True,
        life_loss_ends: bool = True,
    ) -> None:
        """Start without rollouts.

        Args:
            network: its outputs are a logit for each action and the value.
            action_names: what the actions are called, for the metrics.
            config: the hyperparameters.
            reward_ends, life_loss_ends: whether a return ends with a reward, and with a lost life.
        """
        self.network = network
        self.action_names = action_names
        self.config = config
        self.reward_ends = reward_ends
        self.life_loss_ends = life_loss_ends
        self.bonuses = config.bonuses(reward_ends)
        self.optimiser = LazyRMSProp(network.weights, config.rate)
        self.return_scale = ReturnScale()
        self._segments: list[tuple[Rollout, bool]] = []

    def __repr__(self) -> str:
        return f"PPO({self.optimiser}, {self.network})"

    @property
    def state(self) -> dict[str, NDArray[Any]]:
        """What it remembers from update to update: the optimiser's state and the scale of returns."""
        return {**self.optimiser.state, "mean_square_return": self.return_scale.mean_square}

    @property
    def moved(self) -> dict[str, NDArray[np.bool_]]:
        """Name -> bool [rows], the rows of the weights that the last update has moved."""
        return {name: rows.copy() for name, rows in self.optimiser.moved.items()}

    def add(self, rollout: Rollout, terminated: bool) -> None:
        """Add a segment of a game; `terminated`: whether the game has ended with it by its own rules.

        Where it has not, the network's value stands for what would have followed, also at a cut-off.
        """
        self._segments.append((rollout, terminated))

    def update(self, number: int, frames: int) -> dict[str, Any]:
        """Learn from all that has been added, and forget it.

        Args:
            number: of this update, for its random numbers.
            frames: played before it, for the schedules.

        Returns:
            Means over the steps, for the metrics: policy_loss, value_loss, entropy (nats), clip_fraction
            (share of the steps that the clipping leaves without a gradient), approx_kl (nats, from the policy
            that played to the one that learns; Schulman 2020), probability/NAME (of each action),
            explained_variance (of the returns, by the values before the update), rewarded (share of the
            steps with a reward), return_scale (what rewards were divided by), crowded (share of the steps
            with a crowded screen, see `preprocessing.observe`), learning_rate.
        """
        config = self.config
        share = annealing(frames, config.schedule_frames)
        self.optimiser.learning_rate = share**0.5 * config.rate
        batch, about = self._batch(1 - share * (1 - config.gamma))
        if isinstance(batch.inputs, Inputs):
            inputs_on = max(len(batch.inputs.indices) / len(batch.inputs), 1.0)
            self.optimiser.shares["W1"] = min(1.0, INPUTS_ON / inputs_on)
        rng = np.random.default_rng(seed_sequence(config.seed, Purpose.MINIBATCHES, number))
        for rows in self.optimiser.moved.values():
            rows[:] = False
        losses = []
        for _ in range(config.epochs):
            for steps in np.array_split(rng.permutation(len(batch.actions)), config.minibatches):
                losses.append(self._minibatch_step(batch, steps, share))
        self._segments.clear()
        means = {name: float(np.mean([each[name] for each in losses])) for name in losses[0]}
        return {**means, **about, "learning_rate": self.optimiser.learning_rate}

    def _ends(self, rollout: Rollout) -> NDArray[np.bool_]:
        """Whether a return ends with each step."""
        return (self.reward_ends & (rollout.rewards != 0)) | (self.life_loss_ends & rollout.lives_lost)

    def _batch(self, gamma: float) -> tuple[_Batch, dict[str, float]]:
        """The steps to learn from, with advantages and returns as the network now sees them; metrics."""
        rollouts = [rollout for rollout, _ in self._segments]
        scale = self.return_scale.divisor
        rewards = [np.sign(rollout.rewards).astype(float) / scale for rollout in rollouts]
        inputs = join([rollout.inputs for rollout in rollouts])
        next_observations = join([rollout.next_observation for rollout in rollouts])
        actions = np.concatenate([rollout.actions for rollout in rollouts])
        out = self._outputs(inputs)
        last_values = self._outputs(next_observations)[:, -1]
        ends = np.cumsum([len(rollout) for rollout in rollouts])
        values = np.split(out[:, -1], ends[:-1])
        advantages = np.concatenate(
            [
                generalised_advantages(
                    reward,
                    self._ends(rollout),
                    value,
                    0.0 if terminated else last_value,
                    gamma,
                    self.config.lambda_,
                )
                for (rollout, terminated), reward, value, last_value in zip(
                    self._segments, rewards, values, last_values, strict=True
                )
            ]
        ).astype(out.dtype)
        returns = advantages + out[:, -1]
        self.return_scale.add(returns)
        explained = 1 - float(np.var(advantages)) / max(float(np.var(returns)), 1e-12)
        rewarded = float(np.mean(np.concatenate(rewards) != 0))
        crowded = float(np.mean(np.concatenate([rollout.crowded for rollout in rollouts])))
        about = {
            "explained_variance": explained,
            "rewarded": rewarded,
            "return_scale": scale,
            "crowded": crowded,
        }
        old_log_p = np.concatenate([rollout.log_probabilities for rollout in rollouts]).astype(out.dtype)
        return _Batch(inputs, actions, old_log_p, advantages, returns), about

    def _outputs(self, inputs: Inputs | Frames) -> Array:
        """The network's outputs [steps, outputs], a minibatch's worth at a time."""
        most = -(-self.config.num_games * self.config.rollout_steps // self.config.minibatches)
        parts = [inputs.slice(i, min(i + most, len(inputs))) for i in range(0, len(inputs), most)]
        return np.concatenate([self.network.forward(part).copy() for part in parts])

    def _minibatch_step(self, batch: _Batch, steps: NDArray[np.int64], share: float) -> dict[str, float]:
        """One step of the optimiser up the gradient over these steps; `share`: see `annealing`."""
        out = self.network.forward(batch.inputs.take(steps))
        d_out, losses, probabilities = objective_gradient(
            out,
            batch.actions[steps],
            batch.old_log_p[steps],
            standardise(batch.advantages[steps]).astype(out.dtype),
            batch.returns[steps],
            self.config.clip,
            share * self.bonuses[0],
            share * self.bonuses[1],
            self.config.value_coefficient,
        )
        self.network.backward(d_out)
        self.optimiser.step(self.network.gradients, self.network.active_rows)
        self.network.zero_gradients()
        named = zip(self.action_names, probabilities, strict=True)
        return {**losses, **{f"probability/{name}": float(mean) for name, mean in named}}


def annealing(frames: int, schedule_frames: int) -> float:
    """What is left of 1 - gamma and of both bonuses for undecided policies; of the learning rate, its root.

    All of it for the first quarter of the schedule; then it falls exponentially, to a tenth at the
    schedule's end and on at the same pace. Discounting makes a quick win worth more than a sure one, and the
    bonuses keep the policy undecided: both help at first and cost points once the agent knows what wins.
    """
    return 10 ** -max(0.0, (frames / schedule_frames - 0.25) / 0.75)


def objective_gradient(
    out: Array,
    actions: NDArray[np.uint8],
    old_log_p: Array,
    advantages: Array,
    returns: Array,
    clip: float,
    entropy_coefficient: float,
    log_barrier_coefficient: float,
    value_coefficient: float,
) -> tuple[Array, dict[str, float], Array]:
    """The gradient of the objective (see the module's header) with respect to the network's outputs.

    Where the clipped ratio is the smaller one it does not move with the weights, so the gradient is 0; else
    d (ratio A) / d logits = ratio A d log pi / d logits. The entropy's gradient vanishes where one action is
    certain, and such a policy would never try another again. The gradient of the log-barrier, the mean of
    all actions' log p, is 1 / actions - p and does not vanish.

    Args:
        out: [steps, actions + 1], logits and values.
        actions: [steps], indices of the actions taken.
        old_log_p, advantages, returns: [steps].
        clip, entropy_coefficient, log_barrier_coefficient, value_coefficient: of the objective.

    Returns:
        d objective / d out, shaped as `out`; means for the metrics, see `PPO.update`; and the mean
        probability of each action.
    """
    p, log_p = policy.softmax(out[:, :-1])
    log_ratio = log_p[np.arange(len(out)), actions] - old_log_p
    ratio = np.exp(log_ratio)
    gain = ratio * advantages
    clipped_gain = np.clip(ratio, 1 - clip, 1 + clip) * advantages
    moves = gain <= clipped_gain
    error = returns - out[:, -1]
    d_out = np.empty_like(out)
    d_out[:, :-1] = (moves * gain)[:, np.newaxis] * policy.softmax_log_gradient(actions, p)
    d_out[:, :-1] += entropy_coefficient * policy.entropy_gradient(p, log_p)
    d_out[:, :-1] += log_barrier_coefficient * (1 / p.shape[1] - p)
    d_out[:, -1] = 2 * value_coefficient * error
    d_out /= len(out)
    losses = {
        "policy_loss": -float(np.mean(np.minimum(gain, clipped_gain))),
        "value_loss": float(np.mean(error * error)),
        "entropy": float(np.mean(policy.entropies(p, log_p))),
        "clip_fraction": 1 - float(np.mean(moves)),
        "approx_kl": float(np.mean(ratio - 1 - log_ratio)),
    }
    return d_out, losses, p.mean(axis=0)
