"""What ships for operating: alerts, dashboards, runbooks, and the five scenarios on a real Prometheus."""
