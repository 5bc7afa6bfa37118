"""Where compiled kernels are cached: numba imports these classes by name. Alone because only numba calls them.

numba writes beside the source or into the user's cache folder, and fails where it can do neither. Then the kernels are
cached for as long as the process runs, and begin with those that lie beside the source.
"""

import shutil
import tempfile
from functools import cache
from pathlib import Path

from numba.core.caching import InTreeCacheLocator


@cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    """A folder that nobody else can write to, deleted when the process ends. A cached kernel is run as it is read."""
    return tempfile.TemporaryDirectory(prefix="tollway-kernels-")


class CacheOfProcess(InTreeCacheLocator):
    """A cache that ends with the process."""

    def get_cache_path(self) -> str:
        """The folder of this source's compiled kernels."""
        return str(Path(_folder().name, *Path(self._py_file).parent.parts[1:]))


class CopiedCache(CacheOfProcess):
    """The same, begun with what was compiled beside the source, which this user may read and not write."""

    def ensure_cache_path(self) -> None:
        """Copy what was compiled, once. OSError when nothing was."""
        copy, compiled = Path(self.get_cache_path()), Path(self._py_file).parent / "__pycache__"
        if not copy.exists():
            files = [*compiled.glob("*.nb[ci]")]
            if not files:
                raise FileNotFoundError(compiled)
            copy.mkdir(parents=True)
            for file in files:
                shutil.copy(file, copy)
