"""The service: it accepts, remembers, schedules and shows jobs. It never sees a GPU and never imports torch."""
