"use strict";

window.addEventListener("load", () => {
  SwaggerUIBundle({
    url: "openapi.json",
    domNode: document.getElementById("docs"),
    deepLinking: true,
    defaultModelsExpandDepth: 0,
    tryItOutEnabled: true,
    // Else it would ask a validator on the internet about this document.
    validatorUrl: null,
  });
});
