"""The provenance of a study: the records that its jobs, or those of an archive, left beside the results."""

import datetime
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gradleak.files import sha256
from gradleak.report.read import read_json
from gradleak.report.records import archived_data, archived_jobs, read_record
from gradleak.study.outline import Outline

ENDING = ".provenance.json"
_MADE_BY = "make"
_FORMAT = "%Y-%m-%dT%H:%M:%SZ"


@dataclass(frozen=True)
class Fact:
    """Something that provenance files say. values: each different value with the number of files that have it."""

    name: str
    values: tuple[tuple[str, int], ...]

    @property
    def differs(self) -> bool:
        """Whether not all files say the same."""
        return len(self.values) > 1


@dataclass(frozen=True)
class DataSet:
    """A data set: its images, the checksum of its content, and whether what was computed had the same content."""

    name: str
    train: str
    test: str
    fingerprint: str
    agrees: str


@dataclass(frozen=True)
class Provenance:
    """All that provenance files say.

    files: number of provenance files. devices: as the header names them. problems: for readers.
    seeds: by what they belong to, as text. checksums: (file, SHA-256) of the files that the page is made from. reused:
    archives that cells come from, with the number of these cells and the SHA-256 of the archive's manifest.
    """

    files: int
    facts: tuple[Fact, ...]
    data: tuple[DataSet, ...]
    devices: str
    seeds: tuple[tuple[str, str], ...]
    settings: tuple[tuple[str, str], ...]
    checksums: tuple[tuple[str, str], ...]
    problems: tuple[str, ...]
    reused: tuple[tuple[str, int, str], ...] = ()


def read_provenance(folder: Path, plan: Outline, shown: Sequence[Path]) -> Provenance:
    """Sum up the provenance files under a study's folder, or an archive's one. Raises UserError if one is not JSON.

    Of an archive that the study reuses, its jobs count as well, as far as it is there. shown: the files that the
    page is made from.
    """
    found = [read_record(path) for path in sorted(folder.rglob(f"*{ENDING}"))]
    found = found or [job for jobs in archived_jobs(folder).values() for job in jobs]
    found += [job for entry in plan.reused for jobs in archived_jobs(Path(entry.archive)).values() for job in jobs]
    facts = _facts(found)
    differing = [fact for fact in facts if fact.differs and fact.name in ("Commit", "Device", "torch")]
    problems = [f"{fact.name}: results come from {len(fact.values)} different ones." for fact in differing]
    dirty = any("dirty" in value for fact in facts if fact.name == "Commit" for value, _ in fact.values)
    if dirty:
        problems.append("Commit: some results come from code that was edited and not committed (-dirty).")
    data = _data(folder, found)
    problems += [f"Data set {one.name}: {one.agrees}." for one in data if one.agrees.startswith("differs")]
    devices = ", ".join(value for fact in facts if fact.name == "Device" for value, _ in fact.values)
    return Provenance(
        files=len(found),
        facts=facts,
        data=data,
        devices=devices or f"{plan.config.get('device', 'unknown')} (as the plan asks; not recorded)",
        seeds=tuple(_seeds(plan)),
        settings=tuple(_settings(plan.config)),
        checksums=tuple((str(path), sha256(path)) for path in shown),
        problems=tuple(problems),
        reused=tuple((entry.archive, len(entry.cells), entry.sha256) for entry in plan.reused),
    )


def _facts(found: Sequence[Mapping[str, Any]]) -> tuple[Fact, ...]:
    columns: dict[str, list[str]] = {"Device": _texts(found, "device"), "Commit": _texts(found, "commit")}
    columns["CPU"] = [_listed(content["cpu"]) for content in found if content.get("cpu")]
    columns["Python"] = _texts(found, "python")
    packages = sorted({name for content in found for name in content.get("versions", {})})
    for name in packages:
        columns[name] = [str(content["versions"][name]) for content in found if name in content.get("versions", {})]
    columns["Platform"] = _texts(found, "platform")
    facts = [
        Fact(name, tuple(sorted(Counter(values).items(), key=lambda pair: (-pair[1], pair[0]))))
        for name, values in columns.items()
        if values
    ]
    if found:
        hosts = {content.get("host") for content in found} - {None}
        jobs = {content.get("slurm_job") for content in found} - {None}
        facts += [Fact("Machines", ((str(len(hosts)), len(found)),))] if hosts else []
        facts += [Fact("SLURM jobs", ((str(len(jobs)), len(found)),))] if jobs else []
        facts += _times(found)
    return tuple(facts)


def _listed(content: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in content.items())


def _texts(found: Sequence[Mapping[str, Any]], key: str) -> list[str]:
    return [str(content[key]) for content in found if content.get(key) is not None]


def _times(found: Sequence[Mapping[str, Any]]) -> list[Fact]:
    ends = []
    starts = []
    for content in found:
        try:
            end = datetime.datetime.strptime(str(content.get("finished")), _FORMAT)
            seconds = float(content.get("seconds") or 0)
        except (TypeError, ValueError):
            continue
        ends.append(end)
        starts.append(end - datetime.timedelta(seconds=seconds))
    if not ends:
        return []
    return [
        Fact("First job began", ((min(starts).strftime(_FORMAT), len(ends)),)),
        Fact("Last job ended", ((max(ends).strftime(_FORMAT), len(ends)),)),
    ]


def _data(folder: Path, found: Sequence[Mapping[str, Any]]) -> tuple[DataSet, ...]:
    used: dict[str, Counter[str]] = {}
    for content in found:
        for name, fingerprint in (content.get("data") or {}).items():
            used.setdefault(str(name), Counter())[str(fingerprint)] += 1
    records = {path.stem: read_json(path, "gradleak data record") for path in sorted((folder / "data").glob("*.json"))}
    records = records or archived_data(folder)
    rows = []
    for name in sorted({*records, *used}):
        record = records.get(name, {})
        seen = used.get(name, Counter())
        fingerprint = str(record.get("fingerprint") or next(iter(sorted(seen)), ""))
        agrees = "no result names it" if not seen else f"the same in {seen.total()} results"
        if set(seen) - {fingerprint}:
            agrees = f"differs in {seen.total() - seen[fingerprint]} of {seen.total()} results"
        sizes = (str(record.get("train", "")), str(record.get("test", "")))
        rows.append(DataSet(name, *sizes, fingerprint, agrees))
    return tuple(rows)


def _seeds(plan: Outline) -> Iterable[tuple[str, str]]:
    cells = list(plan.cells.values())
    named = {
        "Cells": [cell.get("seed") for cell in cells],
        "Initialisation of models": [cell.get("model", {}).get("init_seed") for cell in cells],
        "Federated training": [(cell.get("model", {}).get("training") or {}).get("seed") for cell in cells],
        "Auxiliary models": [auxiliary.get("seed") for auxiliary in plan.auxiliaries.values()],
    }
    for name, values in named.items():
        if found := sorted({int(value) for value in values if value is not None}):
            yield name, ", ".join(map(str, found[:12])) + (" …" if len(found) > 12 else "")


def _settings(config: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    """Settings that decide results or times. Of a data set's source, the kind counts and not its place on a machine."""
    for key in ("device", "threads", "precision"):
        if key in config:
            yield key, str(config[key])
    for key, value in (config.get("jobs") or {}).items():
        yield f"jobs.{key}", str(value)
    for name, source in (config.get("data") or {}).items():
        yield f"data.{name}", str((source or {}).get("source", ""))
