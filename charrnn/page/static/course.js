// The slider that selects a sample of the run, and marks its step in the chart of the losses.

function startReplay() {
  const slider = document.getElementById("replay"), list = document.getElementById("samples");
  if (!slider) return;
  const samples = [...list.children], marker = document.getElementById("marker");
  const caption = document.getElementById("replay-caption"), shown = document.getElementById("replay-text");
  const show = () => {
    const sample = samples[slider.valueAsNumber];
    caption.textContent = sample.querySelector(".when").textContent;
    slider.setAttribute("aria-valuetext", caption.textContent);
    shown.textContent = sample.querySelector("pre").textContent;
    if (marker) {
      marker.removeAttribute("visibility");
      marker.setAttribute("x1", sample.dataset.x);
      marker.setAttribute("x2", sample.dataset.x);
    }
  };
  slider.addEventListener("input", show);
  show();
}
