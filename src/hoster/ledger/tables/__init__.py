"""The ledger's tables, a module a subject, all handed on here.

Times are aware and in UTC; nothing in clear outlives its mail. A table that is not imported here is
unknown to the migrations (`hoster.ledger.migrations.env`).
"""

from __future__ import annotations

from hoster.ledger.tables.addresses import ReleasedAddressRow
from hoster.ledger.tables.announcements import AnnouncementRow, ConcernedRow
from hoster.ledger.tables.base import Base, Instant
from hoster.ledger.tables.clients import ClientRow
from hoster.ledger.tables.incidents import IncidentRow
from hoster.ledger.tables.measures import MeasureRow
from hoster.ledger.tables.node_events import NodeEventRow
from hoster.ledger.tables.orders import AccessCodeRow
from hoster.ledger.tables.outbox import MailRow
from hoster.ledger.tables.proofs import ProofDemandRow
from hoster.ledger.tables.reinstalls import ReinstallRow
from hoster.ledger.tables.terminations import TerminationRow
from hoster.ledger.tables.trail import AuditEntryRow

__all__ = [
    "AccessCodeRow",
    "AnnouncementRow",
    "AuditEntryRow",
    "Base",
    "ClientRow",
    "ConcernedRow",
    "IncidentRow",
    "Instant",
    "MailRow",
    "MeasureRow",
    "NodeEventRow",
    "ProofDemandRow",
    "ReinstallRow",
    "ReleasedAddressRow",
    "TerminationRow",
]
