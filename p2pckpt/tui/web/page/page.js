// textual.js draws and sends keys; what a page around it has to do is here.
"use strict";
addEventListener("load", () => {
  document.getElementById("again").addEventListener("click", () => location.reload());
  document.querySelector(".xterm-helper-textarea").focus();
});
