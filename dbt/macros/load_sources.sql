{#-
    The plugin loads a source when a model that reads it is built. A unit test of a staging model
    runs before that and asks for the source's columns: so they are loaded, and made known, at the
    start of a build, unless it leaves out unit tests as a scheduled one does.
-#}
{% macro load_sources() -%}
    {%- set left_out = invocation_args_dict.get('exclude_resource_types') or [] -%}
    {%- if execute and flags.WHICH in ('build', 'test') and 'unit_test' not in left_out -%}
        {%- for node in graph.sources.values() -%}
            {%- do adapter.cache_added(source(node.source_name, node.name)) -%}
        {%- endfor -%}
    {%- endif -%}
{%- endmacro %}
