// The form that creates a task: name, files, labels.
import { call, json } from "../api.js";
import { FunctionChoice } from "../function_choice.js";
import { LabelRows } from "./label_rows.js";
import { upload } from "./upload.js";

const form = document.getElementById("new-task");
const data = json("new-task-data");
const problem = document.getElementById("problem");
const progress = document.getElementById("progress");
const drop = document.getElementById("drop");
const labels = new LabelRows(document.getElementById("labels"));
const functions = new FunctionChoice(form.elements.function, form.elements.function_search, data, form.dataset.functions);
let files = [];
let shown = Promise.resolve(); // fulfilled when the labels of the chosen function are shown

const say = (share, words) => {
  progress.hidden = false;
  progress.querySelector("progress").value = share;
  progress.querySelector(".words").textContent = words;
};

const take = (chosen) => {
  files = [...chosen];
  const megabytes = files.reduce((sum, { size }) => sum + size, 0) / 1e6;
  document.getElementById("chosen").textContent = files.length ? `${files.length} file${files.length === 1 ? "" : "s"}, ${megabytes.toFixed(1)} MB` : "No files chosen.";
  if (files.length && !form.elements.name.value) form.elements.name.value = files[0].name.replace(/\.[^.]+$/, "");
};

const create = async () => {
  if (!form.elements.name.value.trim()) throw new Error("Give the task a name.");
  if (!files.length) throw new Error("Choose the files of the frames.");
  await shown;
  const specs = labels.value();
  if (!specs.length) throw new Error("Add at least one label, or take those of a function.");
  const task = await call("POST", "/api/tasks", { name: form.elements.name.value.trim(), labels: specs });
  try {
    await upload(task.id, files, say);
  } catch (error) {
    await call("DELETE", `/api/tasks/${task.id}`); // nothing half-made is left
    throw error;
  }
  location.assign(form.dataset.task + task.id);
};

const showLabels = async () => {
  problem.hidden = true;
  try {
    const found = await functions.load();
    if (found) labels.show(found.labels);
  } catch (error) {
    problem.textContent = error.message;
    problem.hidden = false;
  }
};

form.elements.function.addEventListener("change", () => {
  shown = showLabels();
});
document.getElementById("add-label").addEventListener("click", () => labels.add({ name: "", type: "any", attributes: [] }).focus());
form.elements.files.addEventListener("change", ({ target }) => take(target.files));
drop.addEventListener("dragover", (event) => {
  event.preventDefault();
  drop.classList.add("over");
});
drop.addEventListener("dragleave", () => drop.classList.remove("over"));
drop.addEventListener("drop", (event) => {
  event.preventDefault();
  drop.classList.remove("over");
  take(event.dataTransfer.files);
});
form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const button = document.getElementById("create");
  button.disabled = true;
  problem.hidden = true;
  try {
    await create();
  } catch (error) {
    problem.textContent = error.message;
    problem.hidden = false;
    progress.hidden = true;
    problem.scrollIntoView({ block: "nearest" });
    button.disabled = false;
  }
});
labels.add({ name: "", type: "any", attributes: [] });
