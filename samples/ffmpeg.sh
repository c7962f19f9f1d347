#!/usr/bin/env bash
# Publishes with ffmpeg: a test picture and a tone, or a file. Ctrl-C ends it.
#
#   samples/ffmpeg.sh                                        to rtmp://localhost:1935/live/cam1
#   samples/ffmpeg.sh rtmp://host:1935/live/cam1?token=KEY   to somewhere else, with a publish key
#   samples/ffmpeg.sh rtmp://host:1935/live/cam1 film.mp4    a file, again and again
set -euo pipefail
url=${1:-rtmp://localhost:1935/live/cam1}

if [ $# -ge 2 ]; then
  input=(-re -stream_loop -1 -i "$2")
else
  input=(-re -f lavfi -i testsrc2=size=1280x720:rate=30 -f lavfi -i sine=frequency=440:sample_rate=48000)
fi

# -tune zerolatency: no B-frames, which browsers can't show over WebRTC, and nothing held back in the encoder.
# -g 60: a key frame every 2 s at 30 pictures a second, the length of a segment.
exec ffmpeg -hide_banner -loglevel warning -nostdin "${input[@]}" \
  -c:v libx264 -preset veryfast -tune zerolatency -pix_fmt yuv420p -b:v 2500k -maxrate 2500k -bufsize 2500k -g 60 \
  -c:a aac -b:a 128k -ac 2 -ar 48000 \
  -f flv "$url"
