"""The clocks that call a tick: how cron and systemd write down what to call, and when."""
