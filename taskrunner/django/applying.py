"""Apply the definitions in the code of a project: add, change and remove tasks in one transaction."""

from collections.abc import Iterator

from taskrunner import TaskRunner
from taskrunner.django import clock, environment, project, registry
from taskrunner.django.settings import Settings
from taskrunner.model.answers import Plan
from taskrunner.model.values import untold
from taskrunner.render import plans


class ProjectRunner(TaskRunner):
    """The taskrunner of a project, whose tasks may be defined in its code."""

    def __init__(self, wanted: Settings) -> None:
        """Take the setting TASKRUNNER."""
        super().__init__(wanted.home)
        self.wanted = wanted

    def apply_code(self, *, dry_run: bool = False) -> Plan:
        """Create, change and remove tasks to match the code, all or nothing, and return the changes.

        Raises InputError or StateError with all faults, a line each.
        """
        defined = registry.collected(self.wanted)
        here = self._here()
        if here.store.missing and not defined.definitions and not defined.faults:
            return Plan([], dry_run)  # a project without definitions needs no database
        if not dry_run and not defined.faults and defined.definitions:
            environment.prepare(self.wanted, project.name())
        ours = defined.sources.__contains__
        plan = self._carry_out(here, defined, ours, None, dry_run=dry_run, progress=untold)
        if not dry_run:
            clock.expect(self.wanted)
        return plan

    def told(self, plan: Plan, *, verbose: bool = False) -> Iterator[str]:
        """Yield the changes of a plan, a line each, advice about new and changed tasks, and a summary."""
        fresh = set()
        for each in plan.tasks:
            if verbose or plan.dry_run or each.action != "keep":
                yield f"{each.task} {plans.ACTIONS[each.action]}: {'; '.join(each.told)}".rstrip(
                    ": "
                )
            if each.action in ("add", "change") and not plan.dry_run:
                fresh.add(each.task)
        for task in self.tasks() if fresh else ():
            for advice in self.advice(task) if task.name in fresh else ():
                yield f"{task.name}: {project.by_manage(advice)}"
        yield plans.plan_sentence(plan)
