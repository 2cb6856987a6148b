"""Task files: TOML text to definitions of tasks, and back.

A file says what tasks there are to be; what that changes is for `plan`. Pure: it is given text, reads no file,
knows no store and no clock.
"""

from taskrunner.taskfile.definition import (
    DASHED as DASHED,
    KEYS as KEYS,
    Definition as Definition,
    Fault as Fault,
    Found as Found,
)
from taskrunner.taskfile.places import lines as lines
from taskrunner.taskfile.reading import LARGEST as LARGEST, Reading as Reading, read as read
from taskrunner.taskfile.writing import write as write
