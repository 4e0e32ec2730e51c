// A picture on its way to the server: read here, made smaller here, and sent as a data URL, so that no file is stored there.
const LARGEST = 2400; // pixels of the longer side
const MOST = 8 * 1024 * 1024; // bytes that are sent as they are
const input = element.querySelector("input");
const preview = element.querySelector("img");
const note = element.querySelector(".cs-note");
const drop = element.querySelector(".cs-drop");

const as_url = (blob) =>
  new Promise((done, fail) => {
    const reader = new FileReader();
    reader.onload = () => done(reader.result);
    reader.onerror = () => fail(reader.error);
    reader.readAsDataURL(blob);
  });

const smaller = async (file) => {
  const bitmap = await createImageBitmap(file, { imageOrientation: "from-image" });
  const share = Math.min(1, LARGEST / Math.max(bitmap.width, bitmap.height));
  if (share === 1 && file.size <= MOST) return file;
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(bitmap.width * share));
  canvas.height = Math.max(1, Math.round(bitmap.height * share));
  const context = canvas.getContext("2d");
  context.fillStyle = "white";
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  return new Promise((done) => canvas.toBlob(done, "image/jpeg", 0.92));
};

const take = async (file) => {
  if (!file) return;
  let blob = file;
  try {
    blob = await smaller(file);
  } catch {
    // A kind that this browser does not show; the server says whether it can read it.
  }
  if (blob.size > MOST) {
    note.textContent = "This picture has more than 8 MiB and cannot be made smaller here: choose another one.";
    return;
  }
  const url = await as_url(blob);
  preview.src = url;
  preview.hidden = false;
  note.textContent = file.name || "pasted picture";
  props.value = url;
  trigger("picked", {});
};

const clear = () => {
  input.value = "";
  preview.removeAttribute("src");
  preview.hidden = true;
  note.textContent = "";
  props.value = "";
  trigger("picked", {});
};

input.addEventListener("change", () => take(input.files[0]));
element.querySelector("button").addEventListener("click", clear);
drop.addEventListener("dragover", (event) => event.preventDefault());
drop.addEventListener("drop", (event) => {
  event.preventDefault();
  take(event.dataTransfer.files[0]);
});
drop.addEventListener("paste", (event) => take([...event.clipboardData.files][0]));
