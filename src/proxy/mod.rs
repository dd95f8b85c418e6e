//! Services to one set of packet rules (pure), applied in one transaction.
