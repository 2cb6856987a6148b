"""taskrunner inside a Django project: `INSTALLED_APPS += ["taskrunner.django"]`.

The names below are looked up when they are first used: settings import this module before applications are ready.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from taskrunner.django.registry import command as command, scheduled as scheduled
    from taskrunner.django.router import Router as Router, database as database
else:
    # Each public name with the module it is looked up in.
    _MODULES = {
        "Router": "router",
        "command": "registry",
        "database": "router",
        "scheduled": "registry",
    }
    __all__ = list(_MODULES)

    def __getattr__(name: str) -> object:
        if name not in _MODULES:
            raise AttributeError(f"module 'taskrunner.django' has no attribute {name!r}")
        from importlib import import_module

        return getattr(import_module(f"taskrunner.django.{_MODULES[name]}"), name)

    def __dir__() -> list[str]:
        return sorted({*globals(), *_MODULES})
