"""Jobs, schedules, sensors and the instance they run on."""
