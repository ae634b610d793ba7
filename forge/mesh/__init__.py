"""Method `mesh`: a fitted face rig that wears the portrait's own pixels."""
