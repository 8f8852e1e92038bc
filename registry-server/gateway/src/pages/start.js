"use strict";
SwaggerUIBundle({
  // Whole, since its links are resolved against it.
  url: new URL("../openapi.json", location.href).href,
  dom_id: "#swagger-ui",
  deepLinking: true,
  filter: true,
  docExpansion: "none",
  defaultModelsExpandDepth: 0,
  // Nothing is asked of another site.
  validatorUrl: null,
});
