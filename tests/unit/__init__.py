"""Tests of one room at a time; folders mirror the packages."""
