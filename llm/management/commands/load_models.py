"""`manage.py load_models [FILE] [--replace]`: put models into the catalogue's table."""

from argparse import ArgumentParser
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError
from django.db import transaction
from django.db.models import Max

from audit.entries import by_command, differences, record
from llm.model_lists import ModelList, ModelListError, read_model_list
from llm.models import DefaultModel, ModelEntry
from llm.shipped import SHIPPED_FILE


class Command(BaseCommand):
    help = (
        "Put models into the catalogue: those that come with the service, or those of a file (our own JSON, the "
        "platform's rate CSV, or what its available-models API answers). Models that are there already stay as they "
        "are, unless --replace is given."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", nargs="?", type=Path, default=SHIPPED_FILE, help="JSON or CSV")
        parser.add_argument("--replace", action="store_true", help="overwrite models that are there with the file's")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            models = read_model_list(options["file"])
        except ModelListError as error:
            raise CommandError(str(error)) from error
        with transaction.atomic():
            said = [*models.remarks, *_load(models, replace=options["replace"])]
        for line in said:
            self.stdout.write(line)


def _load(models: ModelList, *, replace: bool) -> list[str]:
    """Returns what was done, in sentences."""
    there = {entry.model_id: entry for entry in ModelEntry.objects.all()}
    new = [model_id for model_id in models.records if model_id not in there]
    other = [model_id for model_id, facts in models.records.items() if _differs(there.get(model_id), facts)]
    same = len(models.records) - len(new) - len(other)
    changed = other if replace else []
    before = {model_id: _as_told(there[model_id], models.records[model_id]) for model_id in changed}
    first = (ModelEntry.objects.aggregate(last=Max("position"))["last"] or 0) + 1
    for place, model_id in enumerate(new, first):
        there[model_id] = ModelEntry(model_id=model_id, position=place)
    for with_fallback in (False, True):  # a fallback has to be there before it is named
        for model_id in (*new, *changed):
            _write(there[model_id], models.records[model_id], with_fallback=with_fallback)
    for model_id in (*new, *changed):
        changes = differences(before.get(model_id, {}), models.records[model_id])
        record(by_command(), "changed" if model_id in before else "created", "model", model_id, changes)
    said = [_sentence("Added", new), _sentence("Replaced", changed)]
    if other and not replace:
        said.append(_sentence("Kept, though the file says otherwise (--replace overwrites them),", other))
    if same:
        said.append(f"{same} already there and the same.")
    return [line for line in (*said, *_load_roles(models.roles, replace=replace)) if line]


def _sentence(done: str, model_ids: Iterable[str]) -> str:
    listed = list(model_ids)
    return f"{done} {len(listed)}: {', '.join(listed)}." if listed else ""


def _differs(entry: ModelEntry | None, facts: Mapping[str, Any]) -> bool:
    return entry is not None and _as_told(entry, facts) != dict(facts)


def _as_told(entry: ModelEntry, facts: Mapping[str, Any]) -> dict[str, Any]:
    """What the table says where the file says `facts`."""
    return {name: getattr(entry, _column(name)) for name in facts}


def _column(name: str) -> str:
    return "fallback_id" if name == "fallback" else name


def _write(entry: ModelEntry, facts: Mapping[str, Any], *, with_fallback: bool) -> None:
    if with_fallback and "fallback" not in facts:
        return
    for name, value in facts.items():
        if with_fallback or name != "fallback":
            setattr(entry, _column(name), value)
    try:
        entry.full_clean()
    except ValidationError as error:
        wrong = "; ".join(f"{name}: {' '.join(found)}" for name, found in error.message_dict.items())
        raise CommandError(f"Nothing was loaded. {entry.model_id}: {wrong}") from error
    entry.save()


def _load_roles(roles: Mapping[str, str], *, replace: bool) -> list[str]:
    said = []
    for role, model_id in roles.items():
        chosen = DefaultModel.objects.filter(role=role).first()
        if chosen is not None and (chosen.model_id == model_id or not replace):
            continue
        if not ModelEntry.objects.filter(model_id=model_id, enabled=True).exists():
            said.append(f"No model for {role}: {model_id} is not in the catalogue, or disabled.")
            continue
        DefaultModel.objects.update_or_create(role=role, defaults={"model_id": model_id})
        changes = differences({} if chosen is None else {"model": chosen.model_id}, {"model": model_id})
        record(by_command(), "changed" if chosen else "created", "default model", role, changes)
        said.append(f"The {role} model is {model_id}.")
    return said
