#!/usr/bin/env python3
"""Publishes readings of simulated temperature sensors to an MQTT broker, as a building's sensors would.

Each sensor has a room with a temperature of its own that drifts slowly; readings have noise. Now and then a room heats
up over some seconds, or a sensor fails and reports so. Needs `mosquitto_pub`, which keeps one connection a sensor.

    simulator.py --port 1883 [--host 127.0.0.1] [--every SECONDS] [--seed N] [--readings N]
"""

import argparse
import json
import math
import random
import shutil
import signal
import subprocess
import sys
import time

# room, kind, its usual temperature in degrees Celsius, its sensors
ROOMS = [
    ("office-1", "office", 21.5, ["a", "b"]),
    ("office-2", "office", 22.0, ["a"]),
    ("lab", "lab", 20.0, ["a", "b"]),
    ("server-room", "server", 27.0, ["rack-1", "rack-2"]),
    ("cold-store", "cold", 2.0, ["a"]),
]
# An incident begins this many readings after the start, and then about this often.
FIRST_INCIDENT, INCIDENTS_EVERY = 3, 25
# How many readings a heating room takes to its peak and back, and how far it rises.
HEAT_READINGS, HEAT_CELSIUS = 12, {"office": 13, "lab": 14, "server": 24, "cold": 9}


class Sensor:
    """One sensor: its state, and the `mosquitto_pub` that publishes for it."""

    def __init__(self, args, rng, room, kind, usual, name):
        self.room, self.kind, self.usual, self.name = room, kind, usual, name
        self.rng, self.drift, self.heat, self.failing = rng, 0.0, 0, 0
        self.command = [
            "mosquitto_pub", "-h", args.host, "-p", str(args.port), "-q", "1", "-l",
            "-i", f"sim-{room}-{name}", "-t", f"sensors/{room}/{name}",
        ]
        self.publisher = None

    def reading(self, number, now):
        self.drift = 0.97 * self.drift + self.rng.gauss(0, 0.05)
        celsius = self.usual + self.drift + self.rng.gauss(0, 0.1)
        if self.heat:
            celsius += HEAT_CELSIUS[self.kind] * math.sin(math.pi * self.heat / HEAT_READINGS)
            self.heat -= 1
        status = "ok"
        if self.failing:
            self.failing -= 1
            status, celsius = "fault", None
        return {
            "sensor": f"{self.room}/{self.name}", "room": self.room, "kind": self.kind, "status": status,
            "celsius": None if celsius is None else round(celsius, 2), "number": number, "at": round(now, 3),
        }

    def publish(self, reading):
        """Hands a reading to the publisher; one whose publisher died with the broker is lost, like a real one."""
        if self.publisher is None or self.publisher.poll() is not None:
            self.publisher = subprocess.Popen(self.command, stdin=subprocess.PIPE, text=True)
        try:
            self.publisher.stdin.write(json.dumps(reading) + "\n")
            self.publisher.stdin.flush()
        except BrokenPipeError:
            self.publisher = None

    def close(self):
        if self.publisher:
            try:
                self.publisher.stdin.close()
                self.publisher.wait(timeout=5)
            except (BrokenPipeError, subprocess.TimeoutExpired):
                self.publisher.kill()


def incident(rng, sensors, first):
    """Something goes wrong: a room heats up, or more rarely a sensor fails."""
    sensor = rng.choice(sensors)
    if not first and rng.random() < 0.25:
        sensor.failing = rng.randint(1, 3)
        return
    for other in sensors:
        if other.room == sensor.room:
            other.heat = HEAT_READINGS


def main():
    parser = argparse.ArgumentParser(description="Publishes simulated sensor readings over MQTT.")
    parser.add_argument("--host", default="127.0.0.1", help="the broker [default: 127.0.0.1]")
    parser.add_argument("--port", type=int, default=1883, help="the broker's port [default: 1883]")
    parser.add_argument("--every", type=float, default=0.5, help="seconds between readings of a sensor [default: 0.5]")
    parser.add_argument("--seed", type=int, default=None, help="the same seed gives the same temperatures")
    parser.add_argument("--readings", type=int, default=0, help="end after so many readings of each sensor")
    args = parser.parse_args()
    if not shutil.which("mosquitto_pub"):
        sys.exit("simulator: mosquitto_pub is missing: apt-get install mosquitto-clients")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    rng = random.Random(args.seed)
    sensors = [Sensor(args, rng, room, kind, usual, name) for room, kind, usual, names in ROOMS for name in names]
    number, next_incident = 0, FIRST_INCIDENT
    try:
        while not args.readings or number < args.readings:
            number += 1
            if number >= next_incident:
                incident(rng, sensors, number == FIRST_INCIDENT)
                next_incident = number + rng.randint(INCIDENTS_EVERY // 2, INCIDENTS_EVERY * 3 // 2)
            for sensor in sensors:
                sensor.publish(sensor.reading(number, time.time()))
            time.sleep(args.every)
    except KeyboardInterrupt:
        pass
    finally:
        for sensor in sensors:
            sensor.close()


if __name__ == "__main__":
    main()
