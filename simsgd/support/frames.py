"""pandas DataFrames, for those who have pandas: an extra, imported where it is used."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

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
