"""The form that defines a task in the admin: the fields, their check and their writing are those of the page.

The schedule is one text beside its kind, so that the form needs no script.
"""

from typing import Any

from django import forms
from django.utils.html import format_html

from taskrunner import TaskRunner
from taskrunner.django import project
from taskrunner.errors import TaskRunnerError
from taskrunner.model.values import Kind, Task
from taskrunner.render import page as text_page, spelling
from taskrunner.web import form as definition

KINDS = {
    Kind.EVERY: "every …",
    Kind.CRON: "cron expression",
    Kind.ON: "on a day of the month",
    Kind.AT: "once, at a date and time",
    Kind.AFTER: "after another task",
    Kind.BOOT: "when the machine starts",
    Kind.MANUAL: "only by hand",
}
# The field of the page that a fault belongs to, where it is another one here.
OF_WHEN = ("every", "unit", "cron", "on", "at_time", "date", "time", "after", "ends")
FIELDS = dict.fromkeys(OF_WHEN, "when")
FIELDSETS = (
    (None, {"fields": ("name", "kind", "when", "tz", "work", "text", "seen")}),
    ("More", {"fields": definition.MORE, "classes": ("collapse",)}),
)


def _text(label: str, example: str = "") -> forms.CharField:
    """Return the field of an option; the library knows what it may hold."""
    return forms.CharField(label=label, required=False, max_length=1000, help_text=example)


def _choice(label: str, option: str) -> forms.ChoiceField:
    choices = [("", "as usual"), *((each, each) for each in definition.CHOICES[option])]
    return forms.ChoiceField(label=label, required=False, choices=choices)


class TaskForm(forms.ModelForm):
    """A task as its superuser defines it; the last check of the form is the writing by the library."""

    taskrunner: TaskRunner  # both are set for each request
    author: str
    data: Any  # that was sent, as Django has it

    name = forms.CharField(max_length=100)
    kind = forms.ChoiceField(label="Schedule", choices=list(KINDS.items()))
    when = forms.CharField(
        required=False,
        max_length=200,
        help_text="1h · 0 3 * * * · last day at 18:00 · 2027-01-31 08:00 · the name of a task, or name:failed or name:any",
    )
    tz = forms.CharField(label="Time zone", required=False, max_length=100)
    work = forms.ChoiceField(label="Runs", choices=list(definition.WORK.items()), initial="shell")
    text = forms.CharField(
        label="Command or code", strip=False, widget=forms.Textarea(attrs={"rows": 4, "cols": 80})
    )
    seen = forms.CharField(required=False, widget=forms.HiddenInput)
    timeout = _text("Timeout", "10m")
    retries = _text("Retries", "3")
    retry_delay = _text("Delay of retries", "1m")
    overlap = _choice("While it still runs", "overlap")
    catch_up = _choice("Catch-up", "catch_up")
    deadline = _text("Deadline", "2h: later it is missed")
    group = _text("Group", "Its tasks run one at a time.")
    cwd = _text("Directory", "/srv/shop")
    on_failure = _text("On failure", "@channel, or a line for the shell")
    description = _text("Description")

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self.old: definition.Old | None = None
        self.written = ""
        self.told: tuple[str, ...] = ()
        if self.instance.pk is not None:
            self.old = definition.of_task(self.taskrunner, self.instance.name)
            self.fields["name"].disabled = True
            renames = f"{project.COMMAND} set {self.instance.name} --name NEW"
            told = format_html("<code>{}</code> gives it another one.", renames)
            self.fields["name"].help_text = told
            self.initial = {**self.old.fields, "when": _when(self.old.fields)}
            if not self.old.fields["work"]:
                self._offer_as_it_is(self.old.task)

    def _offer_as_it_is(self, task: Task) -> None:
        """Let a task keep what the form cannot show, such as a function."""
        line = text_page.visible(spelling.command_line(task))
        work, text = self.fields["work"], self.fields["text"]
        assert isinstance(work, forms.ChoiceField)
        work.choices = [("", f"As it is: {line}"), *definition.WORK.items()]
        work.required = text.required = False

    def clean(self) -> dict[str, Any]:
        """Check the whole by the library, and write it if nothing is wrong."""
        typed = {key: str(value) for key, value in self.cleaned_data.items()}
        if self.errors:
            return self.cleaned_data
        typed = {**definition.EMPTY, **typed, **_parts(typed["kind"], typed["when"].strip())}
        checked = definition.check(self.taskrunner, self.old, typed)
        for field, faults in checked.faults.items():
            here = FIELDS.get(field, field)
            for fault in faults:
                self.add_error(here if here in self.fields else None, project.by_manage(fault))
        if self.old is not None:  # whoever was told of another change may save all the same
            self.data = self.data.copy()
            self.data["seen"] = self.old.fields["seen"]
        if not checked.faults:
            self.told = checked.told
            try:
                self.written = definition.save(
                    self.taskrunner, self.old, checked, typed["name"].strip(), self.author
                )
            except TaskRunnerError as exc:
                self.add_error(None, project.by_manage(str(exc)))
        return self.cleaned_data

    def _post_clean(self) -> None:
        """Leave the row alone: the library has checked, and knows more than the columns."""


def _when(fields: dict[str, str]) -> str:
    """Return a schedule as one text."""
    if fields["kind"] == Kind.EVERY:
        return fields["every"] + fields["unit"]
    if fields["kind"] == Kind.ON:
        return f"{fields['on']} at {fields['at_time']}"
    if fields["kind"] == Kind.AT:
        return f"{fields['date']} {fields['time']}".strip()
    if fields["kind"] == Kind.AFTER:
        ends = fields["ends"]
        return fields["after"] + ("" if ends == "succeeded" else f":{ends}")
    return fields["cron"] if fields["kind"] == Kind.CRON else ""


def _parts(kind: str, when: str) -> dict[str, str]:
    """Return the fields of the page that a schedule in one text stands for."""
    if kind == Kind.AT:
        day, _, time = when.replace("T", " ").partition(" ")
        return {"date": day, "time": time}
    if kind == Kind.ON:
        day, _, time = when.partition(" at ")
        return {"on": day, "at_time": time}
    if kind == Kind.AFTER:
        parent, _, ends = when.partition(":")
        return {"after": parent, "ends": ends or "succeeded"}
    return {"every": when, "unit": ""} if kind == Kind.EVERY else {"cron": when}
