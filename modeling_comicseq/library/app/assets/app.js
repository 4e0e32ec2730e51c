// Runs once for each of the app's HTML components. `element` stays; what is in it changes with each answer, so that all
// listeners are on `element`. What was clicked is told to the server by its data: no link is followed, no address opened.
const told = (target) => ({ page: "", panel: "", kind: "", guess: "", ...target.dataset });
const tell = {
  open: (data) => trigger("open", data),
  choose: (data) => trigger("choose", data),
  like: (data) => trigger("like", data),
  ask: (data) => trigger("ask", data),
  guess: (data) => trigger("guess", data),
};
const act = (target) => tell[target.dataset.do]?.(told(target));

const middle = (point) => {
  const box = point.getBoundingClientRect();
  return [box.left + box.width / 2, box.top + box.height / 2];
};
const points = () => [...element.querySelectorAll(".cs-map [data-page]")];
const nearest = (x, y, reach) => {
  let found = null;
  for (const point of points()) {
    const [px, py] = middle(point);
    const distance = Math.hypot(px - x, py - y);
    if (distance < reach) [found, reach] = [point, distance];
  }
  return found;
};

element.addEventListener("click", (event) => {
  const target = event.target.closest("[data-do]");
  if (target) return act(target);
  if (event.target.closest(".cs-map")) {
    const point = nearest(event.clientX, event.clientY, 24); // a finger is wider than a point
    if (point) act(point);
  }
});

const directions = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowDown: [0, 1], ArrowUp: [0, -1] };
element.addEventListener("keydown", (event) => {
  const point = event.target.closest(".cs-map [data-page]");
  if (!point) return;
  if (event.key === "Enter" || event.key === " ") {
    event.preventDefault();
    return act(point);
  }
  const direction = directions[event.key];
  if (!direction) return;
  event.preventDefault();
  const [x, y] = middle(point);
  let next = null;
  let least = Infinity;
  for (const other of points()) {
    if (other === point) continue;
    const [ox, oy] = middle(other);
    const along = (ox - x) * direction[0] + (oy - y) * direction[1];
    const across = Math.abs((ox - x) * direction[1]) + Math.abs((oy - y) * direction[0]);
    if (along > 0 && along + 2 * across < least) [next, least] = [other, along + 2 * across];
  }
  if (!next) return;
  point.setAttribute("tabindex", "-1");
  next.setAttribute("tabindex", "0");
  next.focus();
});
