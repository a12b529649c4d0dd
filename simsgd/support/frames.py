"""pandas DataFrames and Parquet files, for those who have pandas or pyarrow: extras, imported where they are used."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from simsgd.support import files

if TYPE_CHECKING:
    import pandas


def dataframe(columns: Mapping[str, np.ndarray]) -> pandas.DataFrame:
    """Return a DataFrame of columns of one length.

    Raises:
        ImportError: if pandas is not installed; the message says how to get it.
    """
    try:
        import pandas
    except ImportError as error:
        raise ImportError("to_dataframe needs pandas, which is not installed: pip install 'simsgd[dataframes]'") from error
    return pandas.DataFrame(dict(columns))


def write_parquet(path: str | os.PathLike[str], columns: Mapping[str, np.ndarray]) -> None:
    """Write columns of one length to a Parquet file, whole or not at all.

    Raises:
        ImportError: if pyarrow is not installed; the message says how to get it.
        OSError: if the file cannot be written.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise ImportError("to_parquet needs pyarrow, which is not installed: pip install 'simsgd[parquet]'") from error
    with files.writing(path) as file:
        pyarrow.parquet.write_table(pyarrow.table({name: pyarrow.array(column) for name, column in columns.items()}), file)
