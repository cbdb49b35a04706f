"""Stable-Baselines3's PPO with its published settings for Atari; prints a line a game, as classic.py does.

    python benchmarks/sb3_atari.py --seed 1   # needs: pip install '.[peers]'

The settings are those of RL Baselines3 Zoo (`atari` in its hyperparams/ppo.yml); what it leaves out is
Stable-Baselines3's default. It plays PongNoFrameskip-v4, as published, or another id of that kind: unlike in
ALE/Pong-v5, which pongrad plays, actions are never sticky.

The eight games take turns in this process (DummyVecEnv, the Zoo's default). With a process each
(SubprocVecEnv) it was no faster on two shared cores: 172 steps/s against 192, means of two runs with one
PyTorch thread.
"""

import argparse

import ale_py
import gymnasium
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_atari_env
from stable_baselines3.common.utils import LinearSchedule
from stable_baselines3.common.vec_env import VecFrameStack


class Scores(BaseCallback):
    """Prints each game's score and each update, with the steps all games made since the line before."""

    def __init__(self) -> None:
        super().__init__()
        self.games = 0
        self.printed = 0

    def _on_step(self) -> bool:
        for info in self.locals["infos"]:
            if "episode" in info:  # from the Monitor inside AtariWrapper: a whole game, true rewards
                self.games += 1
                self.print(f"game {self.games}: score {int(info['episode']['r']):+d}")
        return True

    def _on_rollout_start(self) -> None:  # the update after the rollout before has been made
        self.print("update:")

    def print(self, what: str) -> None:
        """Print a line and the steps since the last one."""
        print(f"{what} {self.num_timesteps - self.printed} steps", flush=True)
        self.printed = self.num_timesteps


def main() -> None:
    """Learn until all timesteps are played or somebody stops us."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=1, help="where all randomness comes from")
    parser.add_argument("--game", default="PongNoFrameskip-v4", help="Gymnasium id without a frame skip")
    options = parser.parse_args()

    gymnasium.register_envs(ale_py)
    games = make_atari_env(options.game, n_envs=8, seed=options.seed)
    model = PPO(
        "CnnPolicy",
        VecFrameStack(games, n_stack=4),
        n_steps=128,
        n_epochs=4,
        batch_size=256,
        learning_rate=LinearSchedule(2.5e-4, 0.0, 1.0),
        clip_range=LinearSchedule(0.1, 0.0, 1.0),
        vf_coef=0.5,
        ent_coef=0.01,
        seed=options.seed,
    )
    model.learn(total_timesteps=10_000_000, callback=Scores())


if __name__ == "__main__":
    main()
