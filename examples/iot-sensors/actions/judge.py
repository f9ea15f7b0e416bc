"""Judges one suspicious reading: how bad is it, and why."""


def main(args):
    reading = args["reading"]
    critical = args.get("critical", {})
    kind = reading.get("kind")
    if reading.get("status") != "ok":
        severity, reason = "critical", "sensor reports " + str(reading.get("status"))
    elif reading["celsius"] >= critical.get(kind, 30):
        severity, reason = "critical", "far too warm"
    else:
        severity, reason = "warning", "too warm"
    print(f"judged {reading['sensor']} in {reading['room']}: {severity}, {reason}")
    return {"severity": severity, "reason": reason, "reading": reading}
