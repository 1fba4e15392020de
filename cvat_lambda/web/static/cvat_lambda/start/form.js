// The form that starts a request. Each part of it has a module; this one joins them.
import { call, json } from "../api.js";
import { FunctionChoice } from "../function_choice.js";
import { Estimate } from "./estimate.js";
import { Mapping } from "./mapping.js";
import { Place } from "./place.js";
import { Preview } from "./preview.js";
import { Prompts } from "./prompts.js";
import { RegionTool } from "./region.js";
import { Replace } from "./replace.js";
import { Scope } from "./scope.js";
import { TrackPreview } from "./track_preview.js";

const form = document.getElementById("start");
const data = json("start-data");
const fields = form.elements;
const problem = document.getElementById("start-problem");
const mapping = new Mapping(document.getElementById("mapping"), document.getElementById("mapping-origin"), data);
const scope = new Scope(form, data);
const prompts = new Prompts(form);
const replace = new Replace(document.getElementById("replace"), document.getElementById("replace-labels"), data.labels);
const where = new Place(data);
const region = new RegionTool(fields.roi, document.getElementById("preview"));
const preview = new Preview(form, data, where, region);
const trackPreview = new TrackPreview(data, where);
const run = document.getElementById("run");
const estimate = new Estimate(document.getElementById("estimate"), run);

const functions = new FunctionChoice(fields.function, fields.function_search, data, form.dataset.functions);
const threshold = () => (fields.own_threshold.checked ? {} : { threshold: Number(fields.threshold.value) });

const OPTIONS = {
  detector: () => ({
    ...prompts.value(mapping.value()),
    ...threshold(),
    mapping: mapping.value(),
    ...replace.value(),
    ...(fields.as_polygons.checked ? { conv_mask_to_poly: true } : {}),
    ...(fields.as_tracks.checked ? { output: "tracks" } : {}),
  }),
  reid: () => ({ ...threshold(), max_distance: Number(fields.max_distance.value) }),
  tracker: () => ({
    start: { frame: Number(fields.start_frame.value) },
    direction: fields.direction.value,
    stop_when_lost: fields.stop_when_lost.checked,
  }),
};

const body = () => {
  const used = functions.chosen;
  if (!used) throw new Error(fields.function.value ? "The labels of the function are being loaded." : "Choose a function.");
  const made = { function: used.id, ...scope.value(used.kind), ...OPTIONS[used.kind]() };
  if (used.kind === "detector" && !Object.keys(made.mapping).length) throw new Error("Map at least one label of the function to a label of the task.");
  return made;
};

const update = () => estimate.ask(body);

const without = () => (fields.function_search.value ? `No function that can run has “${fields.function_search.value}” in its name or id.` : "No function can run on this task now. See the page “Functions” for their states.");

const showFunction = () => {
  const used = functions.chosen;
  for (const part of form.querySelectorAll("[data-kinds]")) part.hidden = !used || !part.dataset.kinds.split(" ").includes(used.kind);
  document.getElementById("function-hint").textContent = fields.function.value ? "" : without();
  prompts.show(used?.prompts ?? []);
  if (used?.kind === "detector") mapping.show(prompts.names(used));
  update();
};

const changeFunction = async () => {
  problem.hidden = true;
  run.disabled = true; // until the estimate says that the request can be made
  showFunction();
  try {
    if (await functions.load()) showFunction();
  } catch (error) {
    problem.textContent = error.message;
    problem.hidden = false;
  }
};

const showThreshold = () => {
  fields.threshold_text.value = Number(fields.threshold.value).toFixed(2);
  preview.applyThreshold();
};

const attempt = async (button, work) => {
  problem.hidden = true;
  button.disabled = true;
  try {
    await work();
  } catch (error) {
    problem.textContent = error.message;
    problem.hidden = false;
    problem.scrollIntoView({ block: "nearest" });
  } finally {
    button.disabled = false;
  }
};

fields.preview_frames.value = where.suggestion;

fields.function.addEventListener("change", changeFunction);
fields.text.addEventListener("change", showFunction);
fields.exemplars.addEventListener("change", showFunction);
fields.threshold.addEventListener("input", () => {
  fields.own_threshold.checked = false;
  showThreshold();
});
form.addEventListener("change", (event) => {
  if (event.target.name !== "preview_frames") update();
});
document.getElementById("preview-run").addEventListener("click", (event) => attempt(event.target, async () => {
  fields.own_threshold.checked = false; // what is shown is what will be written
  const { mapping: labels, conv_mask_to_poly: polygons, roi, text, exemplars } = body();
  await preview.run(functions.chosen.id, { mapping: labels, ...(text ? { text } : {}), ...(exemplars ? { exemplars } : {}), ...(polygons ? { conv_mask_to_poly: polygons } : {}), ...(roi ? { roi } : {}) });
  update();
}));
document.getElementById("region-draw").addEventListener("click", (event) => attempt(event.target, () => preview.open()));
document.getElementById("region-clear").addEventListener("click", () => region.set(""));
document.getElementById("track-preview-run").addEventListener("click", (event) => attempt(event.target, () => trackPreview.run(functions.chosen.id, Number(fields.start_frame.value))));
form.addEventListener("submit", (event) => {
  event.preventDefault();
  attempt(run, async () => {
    const made = await call("POST", "/api/lambda/requests", body());
    location.assign(`${form.dataset.requests}/${made.id}`);
  });
});
showFunction();
showThreshold();
