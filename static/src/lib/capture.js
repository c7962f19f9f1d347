// Camera, screen and microphone, and what their errors mean for a person.

/** Why this page can't have devices at all, as `{title, text}`; null if it can. */
export function obstacle() {
  if (!window.isSecureContext) {
    return {
      title: 'Browsers give the camera to secure pages only',
      text: `Open this page by https, or on the server itself as http://localhost${location.port ? `:${location.port}` : ''}${location.pathname}. A reverse proxy with a certificate in front of headend does it; OBS needs none.`,
    };
  }
  if (!navigator.mediaDevices || !('RTCPeerConnection' in window)) return { title: 'This browser can’t publish', text: 'It has no WebRTC. A current Chrome, Edge, Firefox or Safari does.' };
  return null;
}

/** What getUserMedia's or getDisplayMedia's error means; null where the person just changed their mind. */
export function explain(error, source) {
  const device = source === 'screen' ? 'screen' : 'camera or microphone';
  switch (error.name) {
    case 'NotAllowedError':
      if (source === 'screen') return { title: 'No screen was chosen', text: 'Press the button again and choose what to share. If no choice comes up, the system doesn’t let this browser record the screen: allow it in the system’s privacy settings.' };
      return { title: `The ${device} is blocked`, text: 'Allow it by the icon beside this page’s address, then try again. If it isn’t offered there, look into the system’s privacy settings.' };
    case 'NotFoundError':
      return { title: `There is no ${device}`, text: 'Connect one, choose “None” as microphone, or share the screen instead.' };
    case 'NotReadableError':
      return { title: `The ${device} is in use`, text: 'Another program holds it, or it failed. Close that program or choose another device.' };
    case 'OverconstrainedError':
      return { title: 'The device can’t do that', text: `It has no mode for the chosen ${error.constraint || 'settings'}. Choose another device, resolution or frame rate.` };
    case 'AbortError':
      return null;
    default:
      return { title: `The ${device} could not be opened`, text: error.message || error.name };
  }
}

const exact = (id) => (id ? { deviceId: { exact: id } } : {});

export function videoConstraints({ camera, width, height, fps }) {
  return { ...exact(camera), width: { ideal: width }, height: { ideal: height }, frameRate: { ideal: fps, max: fps } };
}

export function audioConstraints({ microphone, voice }) {
  return { ...exact(microphone), echoCancellation: voice, noiseSuppression: voice, autoGainControl: voice, channelCount: { ideal: voice ? 1 : 2 } };
}

/** One stream with at most one track of each kind. */
export async function capture(settings) {
  const { source, microphone } = settings;
  const audio = microphone === 'none' ? false : audioConstraints(settings);
  if (source === 'camera') return navigator.mediaDevices.getUserMedia({ video: videoConstraints(settings), audio });
  const { width, height, fps } = settings;
  const screen = await navigator.mediaDevices.getDisplayMedia({ video: { width: { max: width }, height: { max: height }, frameRate: { ideal: fps, max: fps } }, audio: microphone === 'none' });
  if (audio && screen.getAudioTracks().length === 0) {
    try {
      const voice = await navigator.mediaDevices.getUserMedia({ audio });
      voice.getAudioTracks().forEach((track) => screen.addTrack(track));
    } catch (error) {
      screen.getTracks().forEach((track) => track.stop());
      throw error;
    }
  }
  return screen;
}
