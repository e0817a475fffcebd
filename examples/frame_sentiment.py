"""The sentiment of a column of a CSV file: `frame_sentiment.py reviews.csv text reviews.parquet`.

Wants textmill[frames] and polars; pandas would do as well.
"""

import sys

import polars as pl

from textmill import Client


def main(source: str, column: str, target: str) -> int:
    """The rows of the file with what was found in each. Exit code 1 where a row failed."""
    with Client() as mill:
        made = mill.map(pl.read_csv(source), "text-classification", column=column, progress=True)
    made.write_parquet(target)
    print(made.group_by(pl.col("labels").list.first().struct.field("label")).len())
    return 1 if made["error_code"].count() else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
