"""What several tests share: simulators and builders, no tests."""
