"""Importing this lowers the limits at which simsgd gives up, so that an attack is soon there. No result depends on them."""

import simsgd as sg
from simsgd.recording import computing, server, stuck

sg.bounds.rows = 20_000
sg.bounds.evaluations = 5_000
stuck.GRADIENTS_WITHOUT_STEP = server.GRADIENTS_WITHOUT_STEP = 10_000
computing.DRAWS_AT_ONE_MOMENT = 10_000
