"""Ways to send fewer bytes: what stands in `Method.compress_up` and `Method.compress_down`."""

from simsgd.support import public

__all__: list[str] = []
__dir__ = public.names(__all__)
