//! Two peers, a virtual clock and a link.
