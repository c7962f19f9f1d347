#!/usr/bin/env bash
# Publishes with GStreamer 1.18 or later: a test picture and a tone. Ctrl-C ends it.
#
#   samples/gstreamer.sh                                        to rtmp://localhost:1935/live/cam1
#   samples/gstreamer.sh rtmp://host:1935/live/cam1?token=KEY   to somewhere else, with a publish key
set -euo pipefail
url=${1:-rtmp://localhost:1935/live/cam1}

# For a camera, put `v4l2src ! videoconvert` in the place of videotestsrc, and `pulsesrc` in that of audiotestsrc.
exec gst-launch-1.0 -q -e \
  videotestsrc is-live=true pattern=ball ! video/x-raw,width=1280,height=720,framerate=30/1 \
    ! videoconvert ! video/x-raw,format=I420 ! x264enc tune=zerolatency speed-preset=veryfast bitrate=2500 key-int-max=60 \
    ! video/x-h264,profile=main ! h264parse ! queue ! mux. \
  audiotestsrc is-live=true wave=ticks ! audio/x-raw,rate=48000,channels=2 ! audioconvert ! voaacenc bitrate=128000 \
    ! aacparse ! queue ! mux. \
  flvmux name=mux streamable=true ! rtmp2sink location="$url"
