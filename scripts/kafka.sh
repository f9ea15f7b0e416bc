#!/usr/bin/env bash
# Fetches the jars of Kafka from Maven Central, for the tests. Quick when they are there.
set -euo pipefail
version=3.9.1
to=$HOME/.cache/triggerfish/kafka-$version
[ -e "$to/complete" ] && exit 0
command -v mvn >/dev/null || { echo "kafka: maven is missing: apt-get install maven" >&2; exit 1; }
echo "kafka: fetching Kafka $version from Maven Central" >&2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cat >"$work/pom.xml" <<END
<project>
  <modelVersion>4.0.0</modelVersion><groupId>triggerfish</groupId><artifactId>kafka</artifactId><version>1</version>
  <dependencies>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>$version</version></dependency>
    <dependency><groupId>org.slf4j</groupId><artifactId>slf4j-simple</artifactId><version>1.7.36</version></dependency>
  </dependencies>
</project>
END
mkdir -p "$to"
mvn -q -B -f "$work/pom.xml" org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies \
  -DincludeScope=runtime "-DoutputDirectory=$to" >&2
touch "$to/complete"
