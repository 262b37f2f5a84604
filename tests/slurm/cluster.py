"""A SLURM cluster of one node with two stand-in GPUs on this machine's loopback, for tests.

It is the real thing, Debian's munge, slurmctld and slurmd, with all of its files in one folder and on ports of its own:
nothing of the system's configuration is read or changed. By hand:

    eval "$(python tests/slurm/cluster.py start FOLDER)"    # sets PATH and SLURM_CONF
    sinfo; snakemake --profile slurm
    python tests/slurm/cluster.py stop FOLDER
"""

import contextlib
import getpass
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scancel", "scontrol")
_DEVICES = ("/dev/null", "/dev/zero")  # stand-ins for GPUs: SLURM insists on device files, and never opens them
GPUS = len(_DEVICES)
_CPUS = 4  # more than this machine may have: the daemon is told to believe it
_MEMORY_MB = 64_000
_START_S = 30.0


def missing() -> str | None:
    """Why there can be no cluster here, with what to install; None if there can."""
    absent = [name for name in PROGRAMS if shutil.which(name, path=_path()) is None]
    return f"no {', '.join(absent)}: apt-get install slurm-wlm munge" if absent else None


class Cluster:
    """The daemons of one folder. `env` is what a process needs to talk to them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        self.node = socket.gethostname().split(".")[0]
        self.env = {"SLURM_CONF": str(self.folder / "slurm.conf"), "PATH": f"{self.folder}/bin{os.pathsep}{_path()}"}

    def start(self) -> None:
        """Start all daemons and wait for the node; raises RuntimeError with the end of their logs if it stays away."""
        for name in ("state", "spool", "gpu", "bin"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        for index, device in enumerate(_DEVICES):
            (self.folder / f"gpu/stand-in{index}").symlink_to(device)
        key = self.folder / "munge.key"
        key.write_bytes(secrets.token_bytes(128))
        key.chmod(0o600)
        self._write_configuration()
        self._write_srun()
        files = [f"--{name}={self.folder}/munge.{name.split('-')[0]}" for name in ("pid-file", "log-file", "seed-file")]
        socket_file = f"--socket={self.folder}/munge.socket"
        # --force: a scratch folder is not as well guarded as /var, which munged warns of.
        self._daemon("munged", "--foreground", "--force", f"--key-file={key}", socket_file, *files)
        self._wait(lambda: (self.folder / "munge.socket").exists(), "munged")
        self._daemon("slurmctld", "-D", "-c")
        self._daemon("slurmd", "-D", "-N", self.node)
        self._wait(lambda: self.node_state() == "IDLE", "the node")

    def stop(self) -> None:
        """Cancel all jobs and end the daemons, the last started first."""
        with contextlib.suppress(subprocess.SubprocessError):
            self.run("scancel", f"--user={getpass.getuser()}", timeout=10)
            self._until(lambda: not self.run("squeue", "--noheader"), 10)
        for name in ("slurmd", "slurmctld", "munged"):
            file = self.folder / f"{name}.started"
            if not file.exists():
                continue
            process = int(file.read_text())
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGTERM)
                self._until(lambda process=process: not _alive(process), 10)
                if _alive(process):
                    os.kill(process, signal.SIGKILL)
            file.unlink()

    def run(self, *command: str, timeout: float = 30) -> str:
        """Output of a SLURM command; raises subprocess.CalledProcessError where it fails."""
        options = {"env": os.environ | self.env, "capture_output": True, "text": True, "timeout": timeout}
        return subprocess.run(command, check=True, **options).stdout.strip()

    def node_state(self) -> str:
        """IDLE, MIXED, ALLOCATED, DRAINED, ..., or empty while the controller does not answer."""
        try:
            return self.run("sinfo", "--noheader", "--Node", "--format=%T", timeout=5).upper().rstrip("*")
        except subprocess.SubprocessError:
            return ""

    def _write_configuration(self) -> None:
        user = getpass.getuser()
        controller, node = _free_ports(2)
        settings = {
            "ClusterName": "gradleak",
            "SlurmctldHost": f"{self.node}(127.0.0.1)",
            "SlurmctldPort": controller,
            "SlurmdPort": node,
            "SlurmUser": user,
            "SlurmdUser": user,
            "AuthType": "auth/munge",
            # A requeued job waits until the credentials of its first start have expired: not two minutes here.
            "AuthInfo": f"socket={self.folder}/munge.socket,cred_expire=5",
            "StateSaveLocation": self.folder / "state",
            "SlurmdSpoolDir": self.folder / "spool",
            "SlurmctldPidFile": self.folder / "slurmctld.pid",
            "SlurmdPidFile": self.folder / "slurmd.pid",
            "SlurmctldLogFile": self.folder / "slurmctld.log",
            "SlurmdLogFile": self.folder / "slurmd.log",
            "ProctrackType": "proctrack/linuxproc",
            "TaskPlugin": "task/none",
            "SelectType": "select/cons_tres",
            "SelectTypeParameters": "CR_Core_Memory",
            "GresTypes": "gpu",
            "DefMemPerCPU": 1000,
            "SlurmdParameters": "config_overrides",
            "SchedulerParameters": "sched_interval=1,batch_sched_delay=0,bf_interval=5",
            "KillWait": 5,
            "ReturnToService": 2,
            "MpiDefault": "none",
            "MailProg": shutil.which("true"),
        }
        lines = [f"{key}={value}" for key, value in settings.items()]
        lines += [
            f"NodeName={self.node} NodeAddr=127.0.0.1 CPUs={_CPUS} RealMemory={_MEMORY_MB} Gres=gpu:{GPUS}",
            "PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP",
        ]
        (self.folder / "slurm.conf").write_text("\n".join(lines) + "\n")
        devices = f"{self.folder}/gpu/stand-in[0-{GPUS - 1}]"
        (self.folder / "gres.conf").write_text(f"NodeName={self.node} Name=gpu File={devices}\n")

    def _write_srun(self) -> None:
        # Snakemake's plugin takes SLURM_CONF from the environment of a job's steps: on a usual cluster the file is in
        # its usual place.
        program = self.folder / "bin/srun"
        program.write_text(f'#!/bin/sh\nSLURM_CONF={self.env["SLURM_CONF"]} exec {shutil.which("srun")} "$@"\n')
        program.chmod(0o755)

    def _daemon(self, name: str, *options: str) -> None:
        program = shutil.which(name, path=_path())
        assert program is not None, missing()
        with (self.folder / f"{name}.out").open("wb") as out:
            process = subprocess.Popen(
                [program, *options],
                env=os.environ | self.env,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
        (self.folder / f"{name}.started").write_text(str(process.pid))

    def _wait(self, ready, what: str) -> None:
        if not self._until(ready, _START_S):
            logs = [f"{path.name}: {path.read_text(errors='replace')[-1500:]}" for path in self.folder.glob("*.log")]
            self.stop()
            raise RuntimeError(f"{what} did not come up in {_START_S:.0f} s\n" + "\n".join(logs))

    @staticmethod
    def _until(ready, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if ready():
                return True
            time.sleep(0.1)
        return False


def _path() -> str:
    return os.environ.get("PATH", "") + os.pathsep + "/usr/sbin"  # where Debian puts the daemons


def _alive(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False
    return state != "Z"


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [opened.getsockname()[1] for opened in sockets]
    for opened in sockets:
        opened.close()
    return ports


if __name__ == "__main__":
    command, folder = sys.argv[1:]
    cluster = Cluster(Path(folder))
    if command == "start":
        cluster.start()
        print("\n".join(f"export {key}={value}" for key, value in cluster.env.items()))
    else:
        cluster.stop()
