// Words the alert that a person reads; what it prints is what the search finds.

function main({ severity, reason, reading }) {
  const value = typeof reading.celsius === 'number' ? `${reading.celsius.toFixed(1)} °C` : 'no value';
  const text = `${severity.toUpperCase()}: ${reading.room}: ${reason} (${value}, sensor ${reading.sensor})`;
  console.log(text);
  return { alert: text, severity, room: reading.room, sensor: reading.sensor };
}
