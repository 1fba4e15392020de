// What every page needs: the CSRF token for htmx, and questions before something is deleted.

document.body.addEventListener("htmx:configRequest", (event) => {
  event.detail.headers["X-CSRFToken"] = document.body.dataset.csrf;
});

document.addEventListener("submit", (event) => {
  if (event.defaultPrevented) return;
  const question = event.submitter?.dataset.confirm ?? event.target.dataset.confirm;
  if (question && !window.confirm(question)) event.preventDefault();
});
