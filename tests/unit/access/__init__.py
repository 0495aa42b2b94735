"""Our side of the tracker."""
