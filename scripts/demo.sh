#!/usr/bin/env bash
# The demonstration behind `make demo`: starts headend, publishes a moving test picture and a tone over RTMP, waits until it
# is live and prints where to look. Ctrl-C ends everything that was started here.
#
# Other ports, another folder, another binary:
#   DEMO_HTTP_PORT=8080 DEMO_RTMP_PORT=1935 DEMO_MEDIA_PORT=8189 DEMO_DATA=data HEADEND_BIN=target/release/headend
# DEMO_ONESHOT=1 asks every address that it prints, then ends.
set -euo pipefail
cd "$(dirname "$0")/.."

http_port=${DEMO_HTTP_PORT:-8080}
rtmp_port=${DEMO_RTMP_PORT:-1935}
media_port=${DEMO_MEDIA_PORT:-8189}
data=${DEMO_DATA:-data}
headend=${HEADEND_BIN:-${CARGO_TARGET_DIR:-target}/release/headend}
path=live/cam1
web=http://localhost:$http_port
patience=30 # seconds until what was started must be there

say() { printf '%s\n' "$*"; }
fail() { printf 'demo: %s\n' "$*" >&2; exit 1; }

[ -x "$headend" ] || fail "$headend is not there; build it with: cargo build --release"
command -v ffmpeg >/dev/null || fail "ffmpeg is missing; install it with: scripts/setup.sh --demo"
command -v curl >/dev/null || fail "curl is missing; install it with: scripts/setup.sh --demo"

# headend would say so itself; here it can be said which variable helps.
for port in "$http_port DEMO_HTTP_PORT" "$rtmp_port DEMO_RTMP_PORT" "$media_port DEMO_MEDIA_PORT"; do
  read -r number name <<<"$port"
  if (exec 3<>"/dev/tcp/127.0.0.1/$number") 2>/dev/null; then
    fail "port $number is taken (is another headend running?). End that program, or choose another port: $name=$((number + 10000)) $0"
  fi
done

work=$(mktemp -d)
server='' publisher=''
cleanup() {
  trap - EXIT INT TERM
  for pid in $publisher $server; do kill -TERM "$pid" 2>/dev/null || true; done
  for pid in $publisher $server; do wait "$pid" 2>/dev/null || true; done
  rm -rf "$work"
}
trap cleanup EXIT
trap 'say; say "demo: ending"; exit 0' INT TERM

HEADEND_SFU__LISTEN="[\"[::]:$media_port\", \"0.0.0.0:$media_port\"]" \
  "$headend" serve --http "[::]:$http_port" --rtmp "[::]:$rtmp_port" --data-dir "$data" 2>"$work/headend.log" &
server=$!

# Asks again until the command is content; ends the demonstration when one of the processes has ended or nothing comes.
await() { # WHAT COMMAND …
  local what=$1 deadline=$((SECONDS + patience))
  shift
  until "$@" >/dev/null 2>&1; do
    kill -0 "$server" 2>/dev/null || { cat "$work/headend.log" >&2; fail "headend has ended; its log is above"; }
    if [ -n "$publisher" ] && ! kill -0 "$publisher" 2>/dev/null; then
      cat "$work/ffmpeg.log" >&2
      fail "ffmpeg has ended; what it said is above"
    fi
    if ((SECONDS >= deadline)); then
      tail -n 20 "$work/headend.log" >&2
      fail "waited $patience s for $what; the end of headend's log is above"
    fi
    sleep 0.1 # between two questions
  done
}
ask() { curl -fsS --max-time 15 -o /dev/null "$@"; }

await "headend" ask "$web/readyz"

# The clock of this machine is part of the picture: what you see beside it is the delay. Without a font, the picture alone.
clock="drawtext=fontsize=64:fontcolor=white:box=1:boxcolor=black@0.6:boxborderw=12:x=40:y=h-120:text='%{localtime\:%H\\\\\:%M\\\\\:%S.%3N}'"
ffmpeg -nostdin -v quiet -f lavfi -i testsrc2=size=320x180 -vf "$clock" -frames:v 1 -f null - || clock=null

ffmpeg -nostdin -hide_banner -loglevel error -re \
  -f lavfi -i testsrc2=size=1280x720:rate=30 -f lavfi -i sine=frequency=330:beep_factor=4:sample_rate=48000 \
  -vf "$clock" -c:v libx264 -preset veryfast -tune zerolatency -pix_fmt yuv420p -b:v 2500k -maxrate 2500k -bufsize 2500k -g 60 \
  -c:a aac -b:a 128k -ac 2 -f flv "rtmp://localhost:$rtmp_port/$path" 2>"$work/ffmpeg.log" &
publisher=$!

await "the test picture to be live" ask "$web/api/v1/streams/$path"
await "the HLS playlist" ask "$web/$path/index.m3u8"

address=$(hostname -I 2>/dev/null | awk '{print $1}')
cat <<END

headend is running, with a test picture and a tone on $path.

  Watch (WebRTC)   $web/$path/
  All streams      $web/
  HLS              $web/$path/index.m3u8
  DASH             $web/$path/manifest.mpd
  WHEP             $web/$path/whep
  Recordings       $web/api/v1/recordings

  Publish your camera from this machine's browser
                   $web/live/cam2/publish
  Publish from OBS (Settings → Stream → Service: Custom)
      Server       rtmp://localhost:$rtmp_port/live
      Stream key   cam3
      then watch   $web/live/cam3/
END
if [ -n "${address:-}" ]; then
  say
  say "  From other machines put $address in the place of localhost (a camera in a browser needs HTTPS there: README)."
fi
say
say "  Recordings are kept in $data. Ctrl-C ends everything."

if [ "${DEMO_ONESHOT:-}" = 1 ]; then
  for url in "$web/$path/" "$web/" "$web/$path/index.m3u8" "$web/$path/manifest.mpd" "$web/api/v1/recordings" "$web/live/cam2/publish"; do
    ask "$url" || fail "$url does not answer"
  done
  ask -X OPTIONS "$web/$path/whep" || fail "$web/$path/whep does not answer"
  say "demo: every address answered"
  exit 0
fi

ended=0
wait -n "$server" "$publisher" || ended=$?
tail -n 20 "$work/headend.log" "$work/ffmpeg.log" >&2
fail "one of the two processes has ended by itself (status $ended); their last words are above"
