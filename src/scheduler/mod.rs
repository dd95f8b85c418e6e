//! Binds pods to nodes: queue, snapshot, cycle, plug-ins.
