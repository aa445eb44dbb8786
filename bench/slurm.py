"""A real Slurm of one node on this machine, with accounting, for as long as a `with` statement lasts. Needs root.

Everything it writes lies in one new folder, which is removed at the end; it has its own ports and its own munge, and
works without systemd.

    python -m bench.slurm COMMAND…      # for instance: python -m bench.slurm sinfo
"""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

PACKAGES = ["slurm-wlm", "munge", "slurmdbd", "mariadb-server-core", "mariadb-client-core"]
PORTS = {"slurmctld": 26817, "slurmd": 26818, "slurmdbd": 26819}
PATIENCE = 120.0  # seconds

SLURM_CONF = """
ClusterName=one
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[slurmctld]}
SlurmdPort={ports[slurmd]}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={work}/munge.socket
CredType=cred/munge
SlurmctldPidFile={work}/slurmctld.pid
SlurmdPidFile={work}/slurmd.pid
SlurmctldLogFile={work}/slurmctld.log
SlurmdLogFile={work}/slurmd.log
StateSaveLocation={work}/state
SlurmdSpoolDir={work}/spool
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort={ports[slurmdbd]}
AccountingStoragePass={work}/munge.socket
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
MpiDefault=none
KillWait=5
JobRequeue=1
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory=2000
PartitionName=all Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""
SLURMDBD_CONF = """
AuthType=auth/munge
AuthInfo=socket={work}/munge.socket
DbdHost={host}
DbdAddr=127.0.0.1
DbdPort={ports[slurmdbd]}
SlurmUser=root
PidFile={work}/slurmdbd.pid
LogFile={work}/slurmdbd.log
StorageType=accounting_storage/mysql
StorageHost=localhost
StorageUser=slurm
StoragePass={password}
StorageLoc=slurm_acct_db
"""


def install() -> None:
    """Debian's packages, if they are not there."""
    if not all(map(shutil.which, ("slurmctld", "slurmd", "slurmdbd", "munged", "mariadbd"))):
        subprocess.run(["apt-get", "-qq", "update"], check=True)
        subprocess.run(["apt-get", "-qq", "install", "--yes", "--no-install-recommends", *PACKAGES], check=True)


def wait_until(is_there: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not is_there():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} is not there after {PATIENCE:.0f} s")
        time.sleep(0.2)


def succeeds(*command: str) -> bool:
    return subprocess.run(command, capture_output=True).returncode == 0


class Slurm:
    """`with Slurm():` starts it, and sets SLURM_CONF, by which Slurm's commands find it."""

    def __init__(self) -> None:
        self.daemons: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> "Slurm":
        install()
        self.work = Path(tempfile.mkdtemp(prefix="one-node-slurm-", dir="/var/lib"))  # munged wants no writable parent
        self.work.chmod(0o755)
        try:
            self._configure()
            self._start()
        except BaseException:
            for log in sorted(self.work.glob("*.log")):
                print(f"{log.name}:", *log.read_text(errors="replace").splitlines()[-5:], sep="\n  ", file=sys.stderr)
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        subprocess.run(["scancel", "--user", "root"], capture_output=True)
        self._end()

    def _configure(self) -> None:
        password = secrets.token_hex(16)
        values = {"work": self.work, "host": socket.gethostname(), "ports": PORTS, "cpus": os.cpu_count()}
        for name in ("state", "spool", "database"):
            (self.work / name).mkdir()
        self._write("munge.key", secrets.token_bytes(1024), 0o400)
        self._write("slurm.conf", SLURM_CONF.format(**values).encode(), 0o644)
        self._write("slurmdbd.conf", SLURMDBD_CONF.format(**values, password=password).encode(), 0o600)
        self.grant = (
            f"create database slurm_acct_db; create user slurm@localhost identified by '{password}'; "
            "grant all on slurm_acct_db.* to slurm@localhost;"
        )
        os.environ["SLURM_CONF"] = str(self.work / "slurm.conf")
        os.environ["MYSQL_UNIX_PORT"] = str(self.work / "database.socket")  # by which slurmdbd finds it

    def _write(self, name: str, content: bytes, mode: int) -> None:
        (self.work / name).write_bytes(content)
        (self.work / name).chmod(mode)

    def _daemon(self, *command: str) -> None:
        with (self.work / "daemons.log").open("ab") as log:
            self.daemons.append(subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True))

    def _start(self) -> None:
        munge = {"key-file": "munge.key", "socket": "munge.socket", "pid-file": "munge.pid", "log-file": "munge.log",
                 "seed-file": "munge.seed"}  # fmt: skip
        self._daemon("munged", "--foreground", *(f"--{name}={self.work / file}" for name, file in munge.items()))
        data, database = f"--datadir={self.work / 'database'}", self.work / "database.socket"
        install_db = ["mariadb-install-db", "--no-defaults", "--user=root", data, "--skip-test-db"]
        subprocess.run([*install_db, "--auth-root-authentication-method=normal"], check=True, capture_output=True)
        self._daemon("mariadbd", "--no-defaults", "--user=root", data, f"--socket={database}", "--skip-networking",
                     f"--pid-file={self.work / 'database.pid'}")  # fmt: skip
        client = ["mariadb", "--no-defaults", f"--socket={database}", "-u", "root"]
        wait_until(lambda: succeeds(*client, "-e", "select 1"), "the database")
        subprocess.run([*client, "-e", self.grant], check=True)
        wait_until((self.work / "munge.socket").exists, "munge")
        self._daemon("slurmdbd", "-D")
        wait_until(lambda: succeeds("sacctmgr", "-n", "list", "cluster"), "slurmdbd")
        subprocess.run(["sacctmgr", "-i", "add", "cluster", "one"], check=False, capture_output=True)
        self._daemon("slurmctld", "-D")
        wait_until(lambda: succeeds("scontrol", "ping"), "slurmctld")
        self._daemon("slurmd", "-D")
        wait_until(lambda: "idle" in output("sinfo", "-h", "-o", "%T"), "the node")

    def _end(self) -> None:
        """Stop what was started, last first, and remove the folder."""
        for daemon in reversed(self.daemons):
            daemon.terminate()
            try:
                daemon.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(daemon.pid, signal.SIGKILL)
                daemon.wait()
        shutil.rmtree(self.work, ignore_errors=True)


def output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True).stdout


def main() -> None:
    with Slurm():
        code = subprocess.run(sys.argv[1:]).returncode
    raise SystemExit(code)


if __name__ == "__main__":
    main()
