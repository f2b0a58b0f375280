// The browser's half of realhead.view.webcam.Webcam: pictures go to the kernel as JPEG buffers, at most two under way;
// the kernel acknowledges each. Nothing is stored, nothing leaves this machine.

const MAX_UNDER_WAY = 2;

const EXPLANATIONS = {
  NotAllowedError: "The browser was not allowed to use the camera: click the camera sign beside the address and allow it.",
  NotFoundError: "No camera was found: plug one in, or use VideoSource with a clip.",
  NotReadableError: "The camera is in use by another program: close it and press Start again.",
  OverconstrainedError: "The camera cannot deliver this size: choose another width and height.",
};

function render({ model, el }) {
  const video = document.createElement("video");
  Object.assign(video, { autoplay: true, muted: true, playsInline: true });
  video.style.cssText = "display:block;background:#222;border-radius:6px;transform:scaleX(-1)";
  const button = document.createElement("button");
  const note = document.createElement("span");
  note.style.marginLeft = "0.8em";
  const canvas = document.createElement("canvas");
  el.append(video, button, note);

  let stream = null;
  let timer = null;
  let underWay = 0;
  let number = 0;
  let busy = false;

  function size() {
    const [width, height] = [model.get("width"), model.get("height")];
    Object.assign(canvas, { width, height });
    Object.assign(video, { width, height });
  }

  function say(state, text) {
    note.textContent = text;
    button.textContent = state === "running" ? "Stop" : "Start the camera";
    if (model.get("state") !== state || model.get("message") !== text) {
      model.set({ state, message: text });
      model.save_changes();
    }
  }

  async function start() {
    if (stream) return;
    if (!navigator.mediaDevices?.getUserMedia) {
      say("error", `A camera needs a secure page: open JupyterLab at http://localhost:${location.port} or over https, ` +
        `not at ${location.host}.`);
      return;
    }
    try {
      const wanted = { width: { ideal: model.get("width") }, height: { ideal: model.get("height") } };
      stream = await navigator.mediaDevices.getUserMedia({ video: wanted, audio: false });
    } catch (error) {
      say("error", EXPLANATIONS[error.name] ?? `The camera did not start: ${error.message}`);
      return;
    }
    stream.getVideoTracks()[0].addEventListener("ended", () => stop("The camera was taken away."));
    video.srcObject = stream;
    underWay = 0;
    timer = setInterval(send, 1000 / model.get("frames_per_second"));
    say("running", "");
  }

  function stop(text = "") {
    clearInterval(timer);
    stream?.getTracks().forEach((track) => track.stop());
    stream = null;
    video.srcObject = null;
    say("stopped", text);
  }

  // The part of the camera's picture that has the wanted shape, from its middle.
  function crop() {
    const aspect = canvas.width / canvas.height;
    const width = Math.min(video.videoWidth, video.videoHeight * aspect);
    const height = width / aspect;
    return [(video.videoWidth - width) / 2, (video.videoHeight - height) / 2, width, height];
  }

  function send() {
    if (!stream || busy || underWay >= MAX_UNDER_WAY || !video.videoWidth) return;
    busy = true;
    const time = performance.now() / 1000;
    canvas.getContext("2d").drawImage(video, ...crop(), 0, 0, canvas.width, canvas.height);
    canvas.toBlob(async (blob) => {
      busy = false;
      if (!blob || !stream) return;
      underWay += 1;
      model.send({ type: "frame", number: number++, time }, undefined, [await blob.arrayBuffer()]);
    }, "image/jpeg", model.get("quality"));
  }

  function receive(content) {
    if (content.type === "ack") underWay = Math.max(underWay - 1, 0);
    if (content.type === "stop") stop();
    if (content.type === "start") start();
  }

  size();
  button.textContent = "Start the camera";
  button.addEventListener("click", () => (stream ? stop() : start()));
  model.on("msg:custom", receive);
  return () => {
    model.off("msg:custom", receive);
    stop();
  };
}

export default { render };
