"use strict";

// A browser's user has no use for a field for the request's id at every operation.
function withoutRequestId(document) {
  const kept = ({ $ref }) => $ref !== "#/components/parameters/X-Request-ID";
  for (const path of Object.values(document.paths ?? {})) {
    for (const operation of Object.values(path)) {
      if (operation.parameters) operation.parameters = operation.parameters.filter(kept);
    }
  }
  return document;
}

// Else the last of its forms has the focus, which is for a token.
function focusedOnTheLogin(Popup, { React }) {
  return class extends React.Component {
    componentDidMount() {
      document.getElementById("oauth_username")?.focus();
    }

    render() {
      return React.createElement(Popup, this.props);
    }
  };
}

const Simpler = {
  statePlugins: { spec: { wrapActions: { updateJsonSpec: (take) => (document) => take(withoutRequestId(document)) } } },
  wrapComponents: { authorizationPopup: focusedOnTheLogin },
};

window.addEventListener("load", () => {
  SwaggerUIBundle({
    url: "openapi.json",
    domNode: document.getElementById("docs"),
    deepLinking: true,
    defaultModelsExpandDepth: 0,
    plugins: [Simpler],
    tryItOutEnabled: true,
    // Else it would ask a validator on the internet about this document.
    validatorUrl: null,
  });
});
