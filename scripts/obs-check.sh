#!/usr/bin/env bash
# Streams with a real OBS Studio (Debian's, default settings, under Xvfb) to a headend that is started for it, and looks at every way out.
# Not part of the default tests: obs-studio is a download of 300 MB. Needs: obs-studio, xvfb, ffmpeg, chromium, node, curl, jq.
#   scripts/obs-check.sh [path of headend]
set -euo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)
headend=${1:-${CARGO_TARGET_DIR:-$here/target}/debug/headend}
for tool in obs Xvfb ffmpeg ffprobe node curl jq; do
  command -v "$tool" >/dev/null || { echo "$tool is missing: apt-get install obs-studio xvfb ffmpeg nodejs curl jq" >&2; exit 2; }
done
work=$(mktemp -d)
pids=()
finish() {
  for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
  wait 2>/dev/null || true
  rm -rf "$work"
}
trap finish EXIT
say() { printf '%s\n' "$*"; }
fail() { say "FAILED: $*"; tail -n 40 "$work/headend.log" "$work/obs.log" 2>/dev/null || true; exit 1; }
# until WHAT SECONDS COMMAND...
until_ok() {
  local what=$1 seconds=$2 end
  shift 2
  end=$((SECONDS + seconds))
  until "$@" >/dev/null 2>&1; do
    ((SECONDS < end)) || fail "waited $seconds s for $what"
    sleep 0.3
  done
}

http=18480 rtmp=18435 media=18490
cat >"$work/headend.toml" <<TOML
data_dir = "$work/data"
[http]
listen = "127.0.0.1:$http"
[rtmp]
listen = "127.0.0.1:$rtmp"
[sfu]
listen = ["127.0.0.1:$media"]
TOML
"$headend" serve --config "$work/headend.toml" >"$work/headend.log" 2>&1 &
pids+=($!)
until_ok "headend" 20 curl -fsS "http://127.0.0.1:$http/readyz"

# What OBS shows: a moving picture that flashes and beeps every second.
ffmpeg -v error -f lavfi -i "testsrc2=s=1280x720:r=30" -f lavfi -i "aevalsrc='if(lt(mod(t,1),0.1),0.8*sin(2*PI*1000*t),0)':s=48000" \
  -vf "drawbox=t=fill:c=white:enable='lt(mod(t,1),0.1)'" -t 20 -c:v libx264 -preset veryfast -c:a aac "$work/source.mp4"

export HOME="$work/home" XDG_CONFIG_HOME="$work/home/.config" XDG_RUNTIME_DIR="$work/run" LIBGL_ALWAYS_SOFTWARE=1 QT_QPA_PLATFORM=xcb
config="$XDG_CONFIG_HOME/obs-studio"
profile="$config/basic/profiles/Untitled"
mkdir -p "$profile" "$config/basic/scenes" "$XDG_RUNTIME_DIR"
chmod 700 "$XDG_RUNTIME_DIR"
cat >"$config/global.ini" <<'INI'
[General]
FirstRun=true
Pre19Defaults=false
Pre21Defaults=false
Pre23Defaults=false
Pre24.1Defaults=false
LastVersion=486539266
EnableAutoUpdates=false
ConfirmOnExit=false
[Basic]
Profile=Untitled
ProfileDir=Untitled
SceneCollection=Untitled
SceneCollectionFile=Untitled
[BasicWindow]
WarnBeforeStartingStream=false
INI
# Nothing but what the first-run dialogue writes: encoder, rate, GOP and B-frames are OBS's defaults.
cat >"$profile/basic.ini" <<'INI'
[General]
Name=Untitled
[Output]
Mode=Simple
[Video]
BaseCX=1280
BaseCY=720
OutputCX=1280
OutputCY=720
INI
printf '{"type":"rtmp_custom","settings":{"server":"rtmp://127.0.0.1:%s/live","key":"cam1","use_auth":false,"bwtest":false}}' "$rtmp" >"$profile/service.json"
cat >"$config/basic/scenes/Untitled.json" <<JSON
{"name":"Untitled","current_scene":"Scene","current_program_scene":"Scene","scene_order":[{"name":"Scene"}],
 "sources":[
  {"id":"ffmpeg_source","versioned_id":"ffmpeg_source","name":"Media","enabled":true,"mixers":255,"volume":1.0,
   "settings":{"local_file":"$work/source.mp4","looping":true,"restart_on_activate":false}},
  {"id":"scene","versioned_id":"scene","name":"Scene","enabled":true,
   "settings":{"id_counter":1,"custom_size":false,"items":[{"id":1,"name":"Media","visible":true,"locked":false,"rot":0.0,
    "pos":{"x":0.0,"y":0.0},"scale":{"x":1.0,"y":1.0},"align":5,"bounds_type":0,"bounds_align":0,"bounds":{"x":0.0,"y":0.0}}]}}]}
JSON
display=:$((90 + RANDOM % 9))
Xvfb "$display" -screen 0 1280x800x24 -nolisten tcp >"$work/xvfb.log" 2>&1 &
pids+=($!)
sleep 1
DISPLAY=$display obs --startstreaming --multi --minimize-to-tray --disable-updater --disable-missing-files-check >"$work/obs.log" 2>&1 &
obs=$!
pids+=("$obs")

api="http://127.0.0.1:$http/api/v1"
live() { curl -fsS "$api/streams/live/cam1" | jq -e '.tracks | length == 2 and all(.packets > 0)'; }
until_ok "OBS to be live" 60 live
sleep 10 # a GOP of OBS's default length and some more
say "--- what headend says of it"
curl -fsS "$api/streams/live/cam1" | jq '{agent: .publisher.agent, tracks, derived, warnings}'
say "--- what OBS says"
grep -E "x264 encoder|keyint|bitrate:|settings:|preset|Skipped|rtmp" "$work/obs.log" | head -n 20 || true

cd "$here/tests/e2e"
say "--- WebRTC in Chromium"
seen=$(node sync.mjs whep "http://127.0.0.1:$http/live/cam1/whep" 8)
say "$seen"
jq -e '.fps > 15 and .freezes <= 1' <<<"$seen" >/dev/null || fail "WebRTC does not move"
curl -fsS "$api/streams/live/cam1" | jq '{derived, warnings}'
curl -fsS "$api/streams/live/cam1" | jq -e '[.warnings[].code] | index("b_frames")' >/dev/null || fail "no warning about B-frames"
for player in hls dash shaka; do
  file=index.m3u8
  [[ $player == dash ]] && file=manifest.mpd
  say "--- $player"
  seen=$(node play.mjs "$player" "http://127.0.0.1:$http/live/cam1/$file" 8)
  say "$seen"
  jq -e '.played > 6' <<<"$seen" >/dev/null || fail "$player does not play"
done
kill -INT "$obs" || true
ended() { curl -fsS "$api/recordings" | jq -e '.items[0].live == false'; }
until_ok "the recording to end" 60 ended
mp4=$(curl -fsS "$api/recordings" | jq -r '.items[0].urls.mp4')
say "--- recording"
curl -fsS "$api/recordings" | jq -c '.items[0]'
ffprobe -v error -count_packets -show_entries stream=codec_name,profile,width,height,has_b_frames,nb_read_packets,duration -of compact "http://127.0.0.1:$http$mp4"
complaints=$(ffmpeg -v warning -nostdin -i "http://127.0.0.1:$http$mp4" -f null - 2>&1)
[[ -z $complaints ]] || fail "the recording: $complaints"
say "OBS works."
