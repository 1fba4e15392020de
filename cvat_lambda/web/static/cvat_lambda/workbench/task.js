// Renames and deletes a task.
import { call } from "../api.js";

const { task, home } = document.getElementById("main").dataset;
const problem = document.getElementById("task-problem");

const handle = (id, work) => document.getElementById(id)?.addEventListener("submit", async (event) => {
  event.preventDefault();
  // `page.js` asks before something is deleted; this listener runs before that one.
  if (event.target.dataset.confirm && !window.confirm(event.target.dataset.confirm)) return;
  try {
    await work(event.target);
  } catch (error) {
    problem.textContent = error.message;
    problem.hidden = false;
  }
});

handle("rename", async (form) => {
  await call("PATCH", `/api/tasks/${task}`, { name: form.elements.name.value });
  location.reload();
});
handle("delete", async () => {
  await call("DELETE", `/api/tasks/${task}`);
  location.assign(home);
});
