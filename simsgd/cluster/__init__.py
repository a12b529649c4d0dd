"""The cluster: a description, which nothing runs, and its file."""

from simsgd.cluster.cluster import Cluster

__all__ = ["Cluster"]
