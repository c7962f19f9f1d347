# headend on Debian 12. Build: docker build -t headend . — see docker-compose.yml for how to run it.
FROM rust:1.95-bookworm AS build
RUN apt-get update && apt-get install -y --no-install-recommends \
      libgstreamer1.0-dev libgstreamer-plugins-base1.0-dev \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
RUN cargo build --release --locked

FROM debian:bookworm-slim
RUN apt-get update && apt-get install -y --no-install-recommends \
      ca-certificates libgstreamer1.0-0 libgstreamer-plugins-base1.0-0 \
      gstreamer1.0-plugins-base gstreamer1.0-plugins-good gstreamer1.0-plugins-bad gstreamer1.0-plugins-ugly gstreamer1.0-libav \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --create-home --home-dir /var/lib/headend headend
COPY --from=build /src/target/release/headend /usr/local/bin/headend
USER headend
WORKDIR /var/lib/headend
VOLUME /var/lib/headend
# RTMP, HTTP, WebRTC media (UDP and TCP)
EXPOSE 1935/tcp 8080/tcp 8189/udp 8189/tcp
ENTRYPOINT ["headend"]
CMD ["serve", "--data-dir", "/var/lib/headend"]
