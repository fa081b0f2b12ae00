"""The build of a wheel: conf/ is copied into it as soctk/conf, soctk's own settings. All else is in setup.cfg."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithConf(build_py):
    """Copies the package and conf/. An editable installation reads conf/ of the checkout instead."""

    def run(self) -> None:
        """Build into an empty folder: files of an earlier build must not get into the wheel."""
        if self.editable_mode:
            super().run()
            return
        package = Path(self.build_lib) / "soctk"
        shutil.rmtree(package, ignore_errors=True)
        super().run()
        shutil.copytree("conf", package / "conf")


setup(cmdclass={"build_py": BuildWithConf})
