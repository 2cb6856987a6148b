"""Run `supervise/systemd/begin.py`: units that an earlier version made call it by this path."""

import os
import runpy

FOLDER = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

if __name__ == "__main__":
    runpy.run_path(os.path.join(FOLDER, "supervise/systemd/begin.py"), run_name="__main__")
