"""The address of a cluster, checked without Ray, which is an extra and slow to import."""

import importlib.util
import re
import socket

from pongrad.ground.errors import UserError

LOCAL = "local"
"""The address of a cluster that is started on this machine and ends with the command."""

SECONDS_TO_ANSWER = 5.0
"""So long we wait for the machine at the address."""


def check_cluster(address: str) -> None:
    """Find out, before anything is made, whether there may be a cluster at this address.

    Raises:
        UserError: Ray is not installed, it is no address, or nothing answers there.
    """
    if importlib.util.find_spec("ray") is None:
        raise UserError("--cluster needs Ray: pip install '.[cluster]'")
    if address == LOCAL:
        return
    host, _, port = address.rpartition(":")
    if not re.fullmatch(r"[\w.-]+", host) or not re.fullmatch(r"\d{1,5}", port):
        raise UserError(f"--cluster must be local, or HOST:PORT as ray start --head prints it, not {address}")
    try:
        socket.create_connection((host, int(port)), SECONDS_TO_ANSWER).close()
    except (OSError, OverflowError) as error:
        raise UserError(f"no Ray cluster answers at {address}: start one with ray start --head") from error
